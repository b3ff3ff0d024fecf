// The account of the rooms, which the slots share: production and staging have one container of room records between them,
// for a swap must forget no claim. Each slot has queues of its own, and its identity no rights on another's.

param location string
param poolAccountName string
param zoneRedundant bool

param slots array

@description('Principals that the slots run as, in the order of the slots.')
param runtimePrincipalIds array

param endpointSubnetId string
param privateZoneIds object
param workspaceId string

var roles = loadJsonContent('../rights.json').roles
var groupId = resourceGroup().id
var sku = zoneRedundant ? 'Standard_ZRS' : 'Standard_LRS'

// Beside each queue of ready rooms stand two more, and on each the identity may do what the service does there. The poison
// queue the service makes itself before each use, and no small role may.
var kinds = [
  {
    suffix: ''
    roles: [
      'Storage Queue Data Reader'
      'Storage Queue Data Message Processor'
      'Storage Queue Data Message Sender'
    ]
  }
  {
    suffix: '-ended'
    roles: [
      'Storage Queue Data Message Processor'
      'Storage Queue Data Message Sender'
    ]
  }
  {
    suffix: '-poison'
    roles: ['Storage Queue Data Contributor']
  }
]
var allQueues = flatten(map(range(0, length(slots)), slot => map(kinds, kind => {
  name: '${slots[slot].queue}${kind.suffix}'
  slot: slot
  roles: kind.roles
})))
var queueAssignments = flatten(map(range(0, length(allQueues)), index => map(allQueues[index].roles, role => {
  queue: index
  role: role
})))
var containers = union(map(slots, slot => slot.records), [])

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

resource poolQueues 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' = [for queue in allQueues: {
  parent: queueService
  name: queue.name
}]

resource queueRights 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for assignment in queueAssignments: {
  scope: poolQueues[assignment.queue]
  name: guid(poolAccount.id, allQueues[assignment.queue].name, assignment.role, runtimePrincipalIds[allQueues[assignment.queue].slot])
  properties: {
    principalId: runtimePrincipalIds[allQueues[assignment.queue].slot]
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles[assignment.role])
  }
}]

// Everything off that keeps a copy of what was replaced or removed: with soft delete or versions a record would outlive
// the rule below, and with immutability none could be changed.
resource blobService 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' = {
  parent: poolAccount
  name: 'default'
  properties: {
    deleteRetentionPolicy: { enabled: false }
    isVersioningEnabled: false
    changeFeed: { enabled: false }
  }
}

resource recordContainers 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = [for container in containers: {
  parent: blobService
  name: container
  properties: { publicAccess: 'None' }
}]

// Records end by what is in them. The rule only removes them, later than anything in them can matter: the longest
// lifetime of a message is 7 days, the longest window of a key 2.
resource recordLifetimes 'Microsoft.Storage/storageAccounts/managementPolicies@2025-06-01' = {
  parent: poolAccount
  name: 'default'
  dependsOn: [blobService]
  properties: {
    policy: {
      rules: [
        {
          name: 'claims-and-instant-rooms'
          type: 'Lifecycle'
          enabled: true
          definition: {
            filters: {
              blobTypes: ['blockBlob']
              prefixMatch: flatten(map(containers, container => ['${container}/claims/', '${container}/instant/']))
            }
            actions: { baseBlob: { delete: { daysAfterModificationGreaterThan: 8 } } }
          }
        }
        {
          name: 'requests'
          type: 'Lifecycle'
          enabled: true
          definition: {
            filters: {
              blobTypes: ['blockBlob']
              prefixMatch: map(containers, container => '${container}/requests/')
            }
            actions: { baseBlob: { delete: { daysAfterModificationGreaterThan: 3 } } }
          }
        }
      ]
    }
  }
}

// No built-in role is small enough: Storage Blob Data Contributor may delete the container.
resource recordsRole 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(groupId, 'MaxConf Room Records')
  properties: {
    roleName: 'MaxConf Room Records'
    description: 'Read, write and delete room records.'
    type: 'CustomRole'
    assignableScopes: [groupId]
    permissions: [
      {
        actions: []
        dataActions: [
          'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'
          'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action'
          'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write'
          'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete'
        ]
      }
    ]
  }
}

resource recordRights 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (slot, index) in slots: {
  scope: recordContainers[indexOf(containers, slot.records)]
  name: guid(poolAccount.id, slot.records, 'MaxConf Room Records', runtimePrincipalIds[index])
  properties: {
    principalId: runtimePrincipalIds[index]
    principalType: 'ServicePrincipal'
    roleDefinitionId: recordsRole.id
  }
}]

// Who read or wrote which record when.
resource blobLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: blobService
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

module poolBlobEndpoint 'private-endpoint.bicep' = {
  name: 'endpoint-pool-blob'
  params: {
    location: location
    name: 'pe-${poolAccountName}-blob'
    targetId: poolAccount.id
    service: 'blob'
    subnetId: endpointSubnetId
    privateZoneId: privateZoneIds.blob
  }
}

output queueServiceUri string = poolAccount.properties.primaryEndpoints.queue
output blobServiceUri string = poolAccount.properties.primaryEndpoints.blob
