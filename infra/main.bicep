// One environment of the room service: everything in its resource group, and its API on the gateway that is there
// already. Two of these share nothing but the subscription.

targetScope = 'resourceGroup'

@description('Which of the two isolated environments this is.')
@allowed(['test', 'production'])
param environment string

@description('Name of the app, unique in all of Azure. Shorter than 32 characters: the host would cut it off.')
@maxLength(31)
param appName string

@description('Region of everything that has one.')
param location string = resourceGroup().location

@description('Instances of the plan. Every slot runs on every one of them; the Pexip budget is divided by their number.')
@minValue(1)
@maxValue(10)
param instances int

@description('Plan SKU, Premium v3.')
param planSku string

@description('Whether plan and storage are spread over zones.')
param zoneRedundant bool

@description('The slots, production first. A slot is what stays in place at a swap: see modules/function-app.bicep.')
param slots array

@description('Address space of the virtual network, a /24; it must not overlap with the one of Pexip.')
param addressSpace string

@description('Pexip: the management node, its network, and what is made for each room.')
param pexip object

@description('Hosts that a citizen\'s case may name, comma-separated: those of this environment\'s own sites and no others.')
param tagHosts string

@description('Starts of the names of foreign rooms that agents may read, comma-separated; empty for none.')
param publicReadPrefixes string

@description('Entra: tenant, accepted audiences and clients, and the roles that routes require (or none).')
param entra object

@description('Genesys Cloud: region, organisation, accepted OAuth clients and divisions.')
param genesys object

@description('The API Management service that is there already: name, resource group, public host name, and the options of modules/api-management.bicep.')
param gateway object

@description('Origins of the agent\'s widget, exact.')
param widgetOrigins array

@description('Addresses of the Pexip Conferencing Nodes as the gateway sees them.')
param conferencingNodes array

@description('Addresses that may try out the release candidate on Production through the gateway.')
param smokeAddresses array

@description('Recipients of alerts.')
param alertEmail string

@description('GitHub repository whose workflows deploy, as owner/name.')
param repository string

var short = environment == 'production' ? 'prod' : 'test'
// Into it the gateway writes the caller's address, and the service believes it: only the gateway reaches the app.
var clientAddressHeader = 'x-maxconf-client-address'
var suffix = uniqueString(resourceGroup().id)

module network 'modules/network.bicep' = {
  name: 'network'
  params: {
    location: location
    name: 'vnet-maxconf-${short}'
    addressSpace: addressSpace
    pexipNetworkId: pexip.networkId
    pexipManagementAddress: pexip.managementAddress
  }
}

module identity 'modules/identity.bicep' = {
  name: 'identity'
  params: {
    location: location
    name: 'id-maxconf-${short}'
    repository: repository
    slots: slots
  }
}

module monitor 'modules/monitor.bicep' = {
  name: 'monitor'
  params: {
    location: location
    name: 'maxconf-${short}'
    alertEmail: alertEmail
  }
}

module storage 'modules/storage.bicep' = {
  name: 'storage'
  params: {
    location: location
    poolAccountName: 'stmaxpool${suffix}'
    zoneRedundant: zoneRedundant
    slots: slots
    runtimePrincipalIds: identity.outputs.runtimePrincipalIds
    endpointSubnetId: network.outputs.endpointSubnetId
    privateZoneIds: network.outputs.privateZoneIds
    workspaceId: monitor.outputs.workspaceId
  }
}

// What one slot has to itself. The names are as long as Azure allows.
module hostAccounts 'modules/host-storage.bicep' = [for (slot, index) in slots: {
  name: 'host-storage-${slot.name}'
  params: {
    location: location
    name: 'stmaxhost${suffix}${slot.name == 'production' ? '' : take(slot.name, 2)}'
    zoneRedundant: zoneRedundant
    runtimePrincipalId: identity.outputs.runtimePrincipalIds[index]
    endpointSubnetId: network.outputs.endpointSubnetId
    privateZoneIds: network.outputs.privateZoneIds
  }
}]

module vaults 'modules/vault.bicep' = [for (slot, index) in slots: {
  name: 'vault-${slot.name}'
  params: {
    location: location
    name: 'kvmaxconf${suffix}${slot.name == 'production' ? '' : take(slot.name, 2)}'
    // Production's identity reads staging's secrets too: before and after the swap that it is lent for, staging has its own
    // settings.
    readers: slot.name == 'staging' ? identity.outputs.runtimePrincipalIds : [(identity.outputs.runtimePrincipalIds[index])]
    endpointSubnetId: network.outputs.endpointSubnetId
    privateZoneIds: network.outputs.privateZoneIds
    workspaceId: monitor.outputs.workspaceId
  }
}]

module functionApp 'modules/function-app.bicep' = {
  name: 'function-app'
  params: {
    location: location
    name: appName
    environment: environment
    planSku: planSku
    instances: instances
    zoneRedundant: zoneRedundant
    slots: slots
    identityIds: identity.outputs.runtimeIds
    identityClientIds: identity.outputs.runtimeClientIds
    deployerPrincipalIds: identity.outputs.deployerPrincipalIds
    appSubnetId: network.outputs.appSubnetId
    inboundSubnetId: network.outputs.inboundSubnetId
    privateZoneIds: network.outputs.privateZoneIds
    hostAccountNames: [for (slot, index) in slots: hostAccounts[index].outputs.name]
    queueServiceUri: storage.outputs.queueServiceUri
    blobServiceUri: storage.outputs.blobServiceUri
    vaultUris: [for (slot, index) in slots: vaults[index].outputs.uri]
    applicationInsightsConnectionString: monitor.outputs.connectionString
    workspaceId: monitor.outputs.workspaceId
    pexip: pexip
    tagHosts: tagHosts
    publicReadPrefixes: publicReadPrefixes
    entra: entra
    genesys: genesys
    clientAddressHeader: clientAddressHeader
  }
}

module apiManagement 'modules/api-management.bicep' = {
  name: 'api-management-${short}'
  scope: resourceGroup(gateway.resourceGroup)
  params: {
    gateway: gateway
    siteHostNames: functionApp.outputs.hostNames
    slots: slots
    entra: entra
    widgetOrigins: widgetOrigins
    conferencingNodes: conferencingNodes
    smokeAddresses: smokeAddresses
    clientAddressHeader: clientAddressHeader
    applicationInsightsId: monitor.outputs.applicationInsightsId
    applicationInsightsConnectionString: monitor.outputs.connectionString
  }
}

module alerts 'modules/alerts.bicep' = {
  name: 'alerts'
  params: {
    location: location
    environment: environment
    workspaceId: monitor.outputs.workspaceId
    applicationInsightsId: monitor.outputs.applicationInsightsId
    actionGroupId: monitor.outputs.actionGroupId
    siteId: functionApp.outputs.siteId
    vaultIds: [for (slot, index) in slots: vaults[index].outputs.id]
    gatewayUrl: 'https://${gateway.host}/${empty(slots[0].gatewayPath) ? '' : '${slots[0].gatewayPath}/'}'
  }
}

module workbook 'modules/workbook.bicep' = {
  name: 'workbook'
  params: {
    location: location
    environment: environment
    workspaceId: monitor.outputs.workspaceId
  }
}

output siteName string = appName
output vaultNames array = [for (slot, index) in slots: vaults[index].outputs.name]
output deployerClientIds array = identity.outputs.deployerClientIds
