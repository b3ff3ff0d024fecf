// A private address for one service of one resource, with its name in the private zone.

param location string
param name string

@description('Resource that gets the address.')
param targetId string

@description('Its service: queue, blob, table, vault, sites, or sites-<slot>.')
param service string

param subnetId string
param privateZoneId string

resource endpoint 'Microsoft.Network/privateEndpoints@2024-05-01' = {
  name: name
  location: location
  properties: {
    subnet: { id: subnetId }
    privateLinkServiceConnections: [
      {
        name: name
        properties: {
          privateLinkServiceId: targetId
          groupIds: [service]
        }
      }
    ]
  }

  resource zone 'privateDnsZoneGroups' = {
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [
        { name: 'zone', properties: { privateDnsZoneId: privateZoneId } }
      ]
    }
  }
}
