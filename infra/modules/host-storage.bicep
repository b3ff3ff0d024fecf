// The account of one slot's Functions host. The host owns every blob of it, and that right must reach neither the rooms nor
// another slot's host.

param location string
param name string
param zoneRedundant bool
param runtimePrincipalId string
param endpointSubnetId string
param privateZoneIds object

var roles = loadJsonContent('../rights.json').roles
var sku = zoneRedundant ? 'Standard_ZRS' : 'Standard_LRS'

resource hostAccount 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: name
  location: location
  kind: 'StorageV2'
  sku: { name: sku }
  properties: {
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: 'Disabled'
    networkAcls: { defaultAction: 'Deny', bypass: 'None' }
  }
}

resource hostBlobRights 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: hostAccount
  name: guid(hostAccount.id, 'Storage Blob Data Owner', runtimePrincipalId)
  properties: {
    principalId: runtimePrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Blob Data Owner'])
  }
}

resource hostTableRights 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: hostAccount
  name: guid(hostAccount.id, 'Storage Table Data Contributor', runtimePrincipalId)
  properties: {
    principalId: runtimePrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Table Data Contributor'])
  }
}

module hostBlobEndpoint 'private-endpoint.bicep' = {
  name: 'endpoint-${name}-blob'
  params: {
    location: location
    name: 'pe-${name}-blob'
    targetId: hostAccount.id
    service: 'blob'
    subnetId: endpointSubnetId
    privateZoneId: privateZoneIds.blob
  }
}

module hostTableEndpoint 'private-endpoint.bicep' = {
  name: 'endpoint-${name}-table'
  params: {
    location: location
    name: 'pe-${name}-table'
    targetId: hostAccount.id
    service: 'table'
    subnetId: endpointSubnetId
    privateZoneId: privateZoneIds.table
  }
}

output name string = hostAccount.name
