// Two accounts: the Functions host owns every blob of its own, and that right must not reach the rooms.

param location string
param hostAccountName string
param poolAccountName string
param zoneRedundant bool

@description('Queue of ready rooms of each slot; two more stand beside each.')
param queues array

param runtimePrincipalId string
param endpointSubnetId string
param privateZoneIds object
param workspaceId string

var roles = loadJsonContent('../rights.json').roles
var sku = zoneRedundant ? 'Standard_ZRS' : 'Standard_LRS'

// The service sets aside what is no room name, and keeps ended rooms for a while.
var sideQueues = flatten(map(queues, queue => ['${queue}-poison', '${queue}-ended']))

var readyQueueRoles = [
  'Storage Queue Data Reader'
  'Storage Queue Data Message Processor'
  'Storage Queue Data Message Sender'
]
var readyQueueAssignments = flatten(map(range(0, length(queues)), index => map(readyQueueRoles, role => {
  queue: index
  role: role
})))

resource hostAccount 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: hostAccountName
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

resource poolAccount 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: poolAccountName
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

resource queueService 'Microsoft.Storage/storageAccounts/queueServices@2025-06-01' = {
  parent: poolAccount
  name: 'default'
}

resource readyQueues 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' = [for queue in queues: {
  parent: queueService
  name: queue
}]

resource besideQueues 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' = [for queue in sideQueues: {
  parent: queueService
  name: queue
}]

resource readyQueueRights 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for assignment in readyQueueAssignments: {
  scope: readyQueues[assignment.queue]
  name: guid(poolAccount.id, queues[assignment.queue], assignment.role, runtimePrincipalId)
  properties: {
    principalId: runtimePrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles[assignment.role])
  }
}]

resource besideQueueRights 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (queue, index) in sideQueues: {
  scope: besideQueues[index]
  name: guid(poolAccount.id, queue, 'Storage Queue Data Contributor', runtimePrincipalId)
  properties: {
    principalId: runtimePrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Queue Data Contributor'])
  }
}]

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

// Who took which message when; of the queue service, for the account itself has no such log.
resource queueLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: queueService
  name: 'workspace'
  properties: {
    workspaceId: workspaceId
    logs: [
      { category: 'StorageRead', enabled: true }
      { category: 'StorageWrite', enabled: true }
      { category: 'StorageDelete', enabled: true }
    ]
  }
}

module poolQueueEndpoint 'private-endpoint.bicep' = {
  name: 'endpoint-pool-queue'
  params: {
    location: location
    name: 'pe-${poolAccountName}-queue'
    targetId: poolAccount.id
    service: 'queue'
    subnetId: endpointSubnetId
    privateZoneId: privateZoneIds.queue
  }
}

module hostBlobEndpoint 'private-endpoint.bicep' = {
  name: 'endpoint-host-blob'
  params: {
    location: location
    name: 'pe-${hostAccountName}-blob'
    targetId: hostAccount.id
    service: 'blob'
    subnetId: endpointSubnetId
    privateZoneId: privateZoneIds.blob
  }
}

module hostTableEndpoint 'private-endpoint.bicep' = {
  name: 'endpoint-host-table'
  params: {
    location: location
    name: 'pe-${hostAccountName}-table'
    targetId: hostAccount.id
    service: 'table'
    subnetId: endpointSubnetId
    privateZoneId: privateZoneIds.table
  }
}

output hostAccountName string = hostAccount.name
output queueServiceUri string = poolAccount.properties.primaryEndpoints.queue
