// The plan, the app and its other slot.
//
// A swap moves code and nothing else: every setting of the service is sticky and has a value in each slot, and what is
// not sticky is the same everywhere. So a release never carries a setting along, and a deployment of this template
// before or after a swap writes the same values.

param location string
param name string
param environment string
param planSku string

@description('Instances of the plan; the slots share them.')
param instances int

param zoneRedundant bool

@description('''
The slots, production first:
  name                    production, edge or staging
  hostId                  name of the Functions host's leases and keys, at most 32 characters, never shared
  queue                   queue of ready rooms, never shared
  records                 container of the room records; shared only by slots between which a swap moves code
  pexipOauthClientId      id of the slot's own OAuth2 client at Pexip; empty: Basic authentication
  pexipUsername           name of the slot's own account for Basic authentication
  prefix                  ROOM_NAME_PREFIX; shared only by slots between which a swap moves code
  instantPrefix           INSTANT_ROOM_NAME_PREFIX; the same
  roomSource              ROOM_SOURCE: pool, or instant (infra/docs/instant-rooms.md)
  poolEmpty               POOL_EMPTY: direct, instant or refuse
  targetSize              ready rooms to keep
  maxRooms                POOL_MAX_ROOMS
  maintains               whether the timer runs; one slot only of those that share a prefix
  pexipRequestsPerMinute  share of the management node's 900 calls a minute, for all instances together
  pexipMaxInFlight        concurrent calls to the node, for each instance
  gatewayPath             path of its API at the gateway
  gitHubEnvironment       GitHub environment that deploys to it
''')
param slots array

@description('Identities that the slots run as, in the order of the slots; so are the accounts and vaults below.')
param identityIds array
param identityClientIds array

@description('Principals that deploy to the slots, in the order of the slots.')
param deployerPrincipalIds array

param appSubnetId string
param inboundSubnetId string
param privateZoneIds object
param hostAccountNames array
param queueServiceUri string
param blobServiceUri string
param vaultUris array
param applicationInsightsConnectionString string
param workspaceId string
param pexip object

@description('Hosts that a citizen\'s case may name, comma-separated.')
param tagHosts string
param publicReadPrefixes string

param entra object
param genesys object
param clientAddressHeader string

var roles = loadJsonContent('../rights.json').roles
var production = slots[0]
var otherSlots = skip(slots, 1)

// The same in every slot, so that it does not matter that a swap takes them along.
var platformSettings = {
  FUNCTIONS_EXTENSION_VERSION: '~4'
  FUNCTIONS_WORKER_RUNTIME: 'custom'
  WEBSITE_RUN_FROM_PACKAGE: '1'
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsDisableHomepage: 'true'
  // Without the list of statuses a broken build would count as warm. Not /health/ready: an outage at Pexip must not
  // stop a rollback.
  WEBSITE_SWAP_WARMUP_PING_PATH: '/health/live'
  WEBSITE_SWAP_WARMUP_PING_STATUSES: '200'
  WEBSITE_WARMUP_PATH: '/health/live'
  // A swap fails otherwise where the host's storage has a firewall.
  WEBSITE_OVERRIDE_STICKY_DIAGNOSTICS_SETTINGS: '0'
}

var stickySettings = [for (slot, index) in slots: {
  // Of the Functions host.
  AzureWebJobsStorage__accountName: hostAccountNames[index]
  AzureWebJobsStorage__clientId: identityClientIds[index]
  AzureFunctionsWebHost__hostid: slot.hostId
  'AzureWebJobs.function_pool_maintenance.Disabled': slot.maintains ? 'false' : 'true'
  WEBSITE_CLOUD_ROLENAME: '${name}-${slot.name}'

  // Which one this is.
  MAXCONF_ENVIRONMENT: environment
  MAXCONF_SLOT: slot.name

  // Queue, records and pool.
  PoolStorage__queueServiceUri: queueServiceUri
  PoolStorage__blobServiceUri: blobServiceUri
  PoolStorage__clientId: identityClientIds[index]
  POOL_QUEUE_NAME: slot.queue
  RECORDS_CONTAINER: slot.records
  RECORDS_HASH_KEY: '@Microsoft.KeyVault(SecretUri=${vaultUris[index]}secrets/records-hash-key/)'
  IDEMPOTENCY_WINDOW_SECONDS: '86400'
  POOL_TIMER_SCHEDULE: '0 * * * * *'
  ROOM_SOURCE: slot.roomSource
  POOL_TARGET_SIZE: string(slot.targetSize)
  POOL_MAX_ROOMS: string(slot.maxRooms)
  POOL_READY_DELAY_SECONDS: '120'
  POOL_ROOM_MAX_AGE_SECONDS: '86400'
  POOL_PREFETCH: '1'
  POOL_LEASE_SECONDS: '60'
  POOL_EMPTY: slot.poolEmpty
  POOL_DIRECT_MAX: '32'
  SWEEP_MARGIN_SECONDS: '3600'
  SWEEP_MAX_DELETIONS: '200'

  // Rooms.
  ROOM_NAME_PREFIX: slot.prefix
  ROOM_TAG_URL: 'https://{host}.gov.bc.ca/idcheck/protected/video/'
  ROOM_TAG_HOSTS: tagHosts
  UUI_DATA_FORMAT: 'host-and-id'
  ROOM_PIN_LENGTH: '6'
  ROOM_HOST_PIN: '@Microsoft.KeyVault(SecretUri=${vaultUris[index]}secrets/room-host-pin/)'
  // IDIM does not need it, and does not get it from the older service.
  CREATE_SHOWS_HOST_PIN: 'false'
  PUBLIC_READ_PREFIXES: publicReadPrefixes
  ROOM_AUTOMATIC_PARTICIPANTS: pexip.automaticParticipants
  ROOM_PROPERTIES: pexip.roomProperties
  ROOM_MAX_LIFETIME_SECONDS: '14400'
  ROOM_ABSOLUTE_LIFETIME_SECONDS: '43200'
  ROOM_END_GRACE_SECONDS: '300'

  // Instant rooms. They are on where ROOM_SOURCE or POOL_EMPTY is instant. The account below is set in any case: rooms live
  // on where they are turned off.
  INSTANT_ROOM_NAME_PREFIX: slot.instantPrefix
  INSTANT_ROOM_LIFETIME_SECONDS: '14400'
  INSTANT_ROOM_MAX_LIFETIME_SECONDS: '86400'
  INSTANT_ROOM_DIAL_OUT: pexip.instantRoomDialOut

  // Pexip.
  PEXIP_MANAGEMENT_URL: pexip.managementUrl
  // One of the two: an OAuth2 client, else an account for Basic authentication. The service refuses to start with both.
  PEXIP_OAUTH_CLIENT_ID: slot.pexipOauthClientId
  PEXIP_OAUTH_PRIVATE_KEY: slot.pexipOauthClientId == '' ? '' : '@Microsoft.KeyVault(SecretUri=${vaultUris[index]}secrets/pexip-oauth-key/)'
  PEXIP_USERNAME: slot.pexipOauthClientId == '' ? slot.pexipUsername : ''
  PEXIP_PASSWORD: slot.pexipOauthClientId == '' ? '@Microsoft.KeyVault(SecretUri=${vaultUris[index]}secrets/pexip-password/)' : ''
  PEXIP_CA_FILE: pexip.caFile
  SERVICE_HOURS: pexip.serviceHours
  SERVICE_CLOSED_DATES: pexip.closedDates
  PEXIP_REQUEST_TIMEOUT_SECONDS: '10'
  PEXIP_REQUESTS_PER_MINUTE: string(slot.pexipRequestsPerMinute / instances)
  PEXIP_MAX_IN_FLIGHT: string(slot.pexipMaxInFlight)
  PEXIP_POLICY_USERNAME: 'pexip-policy'
  PEXIP_POLICY_PASSWORD: '@Microsoft.KeyVault(SecretUri=${vaultUris[index]}secrets/pexip-policy-password/)'
  PEXIP_EVENT_USERNAME: 'pexip-events'
  PEXIP_EVENT_PASSWORD: '@Microsoft.KeyVault(SecretUri=${vaultUris[index]}secrets/pexip-event-password/)'

  // Callers.
  ENTRA_TENANT_ID: entra.tenantId
  ENTRA_AUDIENCE: join(entra.audiences, ',')
  ENTRA_CREATE_ROLE: entra.createRole
  ENTRA_DELETE_ROLE: entra.deleteRole
  ENTRA_READ_ROLE: entra.readRole
  ENTRA_ALLOWED_CLIENT_IDS: join(entra.clientIds, ',')
  ENTRA_AUTHORITY_URL: 'https://login.microsoftonline.com'
  ENTRA_KEYS_MIN_REFRESH_SECONDS: '300'
  GENESYS_API_URL: genesys.apiUrl
  GENESYS_ORGANIZATION_ID: genesys.organizationId
  GENESYS_OAUTH_CLIENT_IDS: join(genesys.oauthClientIds, ',')
  GENESYS_DIVISION_IDS: join(genesys.divisionIds, ',')
  GENESYS_CACHE_SECONDS: '60'
  // Empty: CORS is the gateway's (gateway/api.xml).
  CORS_ALLOWED_ORIGINS: ''

  // Limits.
  REQUEST_DEADLINE_SECONDS: '25'
  RATE_LIMIT_PER_MINUTE: '600'
  PUBLIC_RATE_LIMIT_PER_MINUTE: '120'
  CLIENT_ADDRESS_HEADER: clientAddressHeader
  MAX_CONCURRENT_REQUESTS: '512'

  // Telemetry.
  AUDIT_HASH_KEY: '@Microsoft.KeyVault(SecretUri=${vaultUris[index]}secrets/audit-hash-key/)'
  LOG_LEVEL: 'info'
  OTEL_EXPORTER_OTLP_ENDPOINT: ''
  OTEL_EXPORTER_OTLP_HEADERS: ''
  APPLICATIONINSIGHTS_CONNECTION_STRING: applicationInsightsConnectionString
}]

// Each slot has one identity and no other: infra/swap lends Production's for the time of a swap, and a deployment of this
// template takes it back as well.
var siteIdentities = [for id in identityIds: {
  type: 'UserAssigned'
  userAssignedIdentities: { '${id}': {} }
}]

// Network, identity and health check do not move at a swap, so each slot has them of its own.
var siteProperties = {
  serverFarmId: plan.id
  httpsOnly: true
  clientAffinityEnabled: false
  publicNetworkAccess: 'Disabled'
  virtualNetworkSubnetId: appSubnetId
  outboundVnetRouting: { allTraffic: true }
  siteConfig: {
    linuxFxVersion: ''
    alwaysOn: true
    healthCheckPath: '/health/live'
    http20Enabled: true
    minTlsVersion: '1.2'
    scmMinTlsVersion: '1.2'
    ftpsState: 'Disabled'
    // Takes effect if public access is ever enabled.
    ipSecurityRestrictionsDefaultAction: 'Deny'
    scmIpSecurityRestrictionsDefaultAction: 'Deny'
    // The platform's CORS would answer before the service and the gateway: no origins here.
    cors: { allowedOrigins: [] }
  }
}

resource plan 'Microsoft.Web/serverfarms@2024-11-01' = {
  name: 'plan-${name}'
  location: location
  kind: 'linux'
  sku: { name: planSku, capacity: instances }
  properties: {
    reserved: true
    zoneRedundant: zoneRedundant
  }
}

resource site 'Microsoft.Web/sites@2024-11-01' = {
  name: name
  location: location
  kind: 'functionapp,linux'
  identity: siteIdentities[0]
  properties: union(siteProperties, { keyVaultReferenceIdentity: identityIds[0] })
}

resource siteSettings 'Microsoft.Web/sites/config@2024-11-01' = {
  parent: site
  name: 'appsettings'
  properties: union(platformSettings, stickySettings[0])
}

// On the site, never on a slot: the names hold for all of them.
resource stickyNames 'Microsoft.Web/sites/config@2024-11-01' = {
  parent: site
  name: 'slotConfigNames'
  properties: {
    appSettingNames: map(items(stickySettings[0]), setting => setting.key)
  }
}

resource siteScmCredentials 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: site
  name: 'scm'
  properties: { allow: false }
}

resource siteFtpCredentials 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: site
  name: 'ftp'
  properties: { allow: false }
}

resource siteSlots 'Microsoft.Web/sites/slots@2024-11-01' = [for (slot, index) in otherSlots: {
  parent: site
  name: slot.name
  location: location
  kind: 'functionapp,linux'
  identity: siteIdentities[index + 1]
  properties: union(siteProperties, { keyVaultReferenceIdentity: identityIds[index + 1] })
}]

resource slotSettings 'Microsoft.Web/sites/slots/config@2024-11-01' = [for (slot, index) in otherSlots: {
  parent: siteSlots[index]
  name: 'appsettings'
  properties: union(platformSettings, stickySettings[index + 1])
}]

resource slotScmCredentials 'Microsoft.Web/sites/slots/basicPublishingCredentialsPolicies@2024-11-01' = [for (slot, index) in otherSlots: {
  parent: siteSlots[index]
  name: 'scm'
  properties: { allow: false }
}]

resource slotFtpCredentials 'Microsoft.Web/sites/slots/basicPublishingCredentialsPolicies@2024-11-01' = [for (slot, index) in otherSlots: {
  parent: siteSlots[index]
  name: 'ftp'
  properties: { allow: false }
}]

// Not AppServiceHTTPLogs: they would hold the query string, and with it uuiData.
resource siteLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: site
  name: 'workspace'
  properties: {
    workspaceId: workspaceId
    logs: [
      { category: 'FunctionAppLogs', enabled: true }
      { category: 'AppServicePlatformLogs', enabled: true }
    ]
  }
}

resource slotLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = [for (slot, index) in otherSlots: {
  scope: siteSlots[index]
  name: 'workspace'
  properties: {
    workspaceId: workspaceId
    logs: [
      { category: 'FunctionAppLogs', enabled: true }
      { category: 'AppServicePlatformLogs', enabled: true }
    ]
  }
}]

// Who deploys to production's slot may deploy to the whole app, for a swap touches both slots.
resource siteDeployer 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: site
  name: guid(site.id, 'Website Contributor', deployerPrincipalIds[0])
  properties: {
    principalId: deployerPrincipalIds[0]
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Website Contributor'])
  }
}

resource slotDeployers 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (slot, index) in otherSlots: {
  scope: siteSlots[index]
  name: guid(site.id, slot.name, 'Website Contributor', deployerPrincipalIds[index + 1])
  properties: {
    principalId: deployerPrincipalIds[index + 1]
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Website Contributor'])
  }
}]

// The upload action looks the app up before it turns to the slot.
resource slotDeployersReading 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (slot, index) in otherSlots: {
  scope: site
  name: guid(site.id, slot.name, 'Reader', deployerPrincipalIds[index + 1])
  properties: {
    principalId: deployerPrincipalIds[index + 1]
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.Reader)
  }
}]

module siteEndpoint 'private-endpoint.bicep' = {
  name: 'endpoint-${production.name}'
  params: {
    location: location
    name: 'pe-${name}'
    targetId: site.id
    service: 'sites'
    subnetId: inboundSubnetId
    privateZoneId: privateZoneIds.sites
  }
}

module slotEndpoints 'private-endpoint.bicep' = [for (slot, index) in otherSlots: {
  name: 'endpoint-${slot.name}'
  params: {
    location: location
    name: 'pe-${name}-${slot.name}'
    targetId: site.id
    service: 'sites-${slot.name}'
    subnetId: inboundSubnetId
    privateZoneId: privateZoneIds.sites
  }
  dependsOn: [siteSlots]
}]

output siteId string = site.id
// A slot's host name is the site's with the slot's added: https://<site>-<slot>.azurewebsites.net.
output hostNames array = [for slot in slots: slot.name == 'production' ? '${name}.azurewebsites.net' : '${name}-${slot.name}.azurewebsites.net']
