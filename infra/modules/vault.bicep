// The secrets of one slot. Operators enter them (infra/docs/deploying.md, Secrets); no template or pipeline contains one.

param location string
param name string

@description('Principals that read the secrets.')
param readers array

param endpointSubnetId string
param privateZoneIds object
param workspaceId string

var roles = loadJsonContent('../rights.json').roles

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' = {
  name: name
  location: location
  properties: {
    tenantId: subscription().tenantId
    sku: { family: 'A', name: 'standard' }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    enablePurgeProtection: true
    publicNetworkAccess: 'Disabled'
    networkAcls: { defaultAction: 'Deny', bypass: 'None' }
  }
}

resource readersRights 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for reader in readers: {
  scope: vault
  name: guid(vault.id, 'Key Vault Secrets User', reader)
  properties: {
    principalId: reader
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Key Vault Secrets User'])
  }
}]

resource logs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: vault
  name: 'workspace'
  properties: {
    workspaceId: workspaceId
    logs: [
      { category: 'AuditEvent', enabled: true }
    ]
  }
}

module endpoint 'private-endpoint.bicep' = {
  name: 'endpoint-${name}'
  params: {
    location: location
    name: 'pe-${name}'
    targetId: vault.id
    service: 'vault'
    subnetId: endpointSubnetId
    privateZoneId: privateZoneIds.vault
  }
}

output id string = vault.id
output name string = vault.name
output uri string = vault.properties.vaultUri
