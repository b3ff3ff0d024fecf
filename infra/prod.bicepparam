// Production: what citizens meet, and the staging slot that a release is tried out in before the swap.
// Values that only the owners of the tenant, of Pexip and of Genesys know come from the GitHub environment `prod-infra`
// (infra/docs/deploying.md, Values to supply); infra/deploy reports which are missing.
using 'main.bicep'

param environment = 'production'
param appName = readEnvironmentVariable('APP_NAME', 'fa-maxconf-prod')
param instances = 2
param planSku = 'P1v3'
param zoneRedundant = true

param slots = [
  {
    name: 'production'
    hostId: 'maxconf-prod'
    queue: 'room-creation-queue'
    records: 'room-records'
    pexipOauthClientId: readEnvironmentVariable('PEXIP_OAUTH_CLIENT_ID', '')
    pexipUsername: readEnvironmentVariable('PEXIP_USERNAME', '')
    prefix: 'vbv-'
    instantPrefix: 'vbi-'
    roomSource: 'pool'
    poolEmpty: 'direct'
    targetSize: 20
    maxRooms: 1000
    maintains: true
    pexipRequestsPerMinute: 800
    pexipMaxInFlight: 5
    gatewayPath: ''
    gitHubEnvironment: 'prod'
  }
  {
    name: 'staging'
    hostId: 'maxconf-prod-staging'
    queue: 'room-creation-queue-staging'
    records: 'room-records'
    pexipOauthClientId: readEnvironmentVariable('PEXIP_OAUTH_CLIENT_ID_STAGING', '')
    pexipUsername: readEnvironmentVariable('PEXIP_USERNAME_STAGING', '')
    prefix: 'vbv-'
    instantPrefix: 'vbi-'
    roomSource: 'pool'
    poolEmpty: 'direct'
    targetSize: 1
    maxRooms: 1000
    // Production's timer sweeps for both: they share the prefix, and a swap changes who is who.
    maintains: false
    pexipRequestsPerMinute: 100
    pexipMaxInFlight: 2
    gatewayPath: 'staging'
    gitHubEnvironment: 'prod-staging'
  }
]

param addressSpace = readEnvironmentVariable('MAXCONF_ADDRESS_SPACE')
param pexip = {
  managementUrl: readEnvironmentVariable('PEXIP_MANAGEMENT_URL')
  managementAddress: readEnvironmentVariable('PEXIP_MANAGEMENT_ADDRESS')
  networkId: readEnvironmentVariable('PEXIP_NETWORK_ID')
  caFile: readEnvironmentVariable('PEXIP_CA_FILE', '')
  automaticParticipants: readEnvironmentVariable('ROOM_AUTOMATIC_PARTICIPANTS')
  roomProperties: readEnvironmentVariable('ROOM_PROPERTIES', '')
  instantRoomDialOut: readEnvironmentVariable('INSTANT_ROOM_DIAL_OUT', '')
  serviceHours: readEnvironmentVariable('SERVICE_HOURS', '')
  closedDates: readEnvironmentVariable('SERVICE_CLOSED_DATES', '')
}
param tagHosts = readEnvironmentVariable('ROOM_TAG_HOSTS')
param publicReadPrefixes = readEnvironmentVariable('PUBLIC_READ_PREFIXES', '')
param entra = {
  tenantId: readEnvironmentVariable('ENTRA_TENANT_ID')
  audiences: split(readEnvironmentVariable('ENTRA_AUDIENCE'), ',')
  clientIds: split(readEnvironmentVariable('ENTRA_ALLOWED_CLIENT_IDS'), ',')
  createRole: readEnvironmentVariable('ENTRA_CREATE_ROLE')
  deleteRole: readEnvironmentVariable('ENTRA_DELETE_ROLE')
  readRole: readEnvironmentVariable('ENTRA_READ_ROLE')
}
param genesys = {
  apiUrl: 'https://api.cac1.pure.cloud'
  organizationId: readEnvironmentVariable('GENESYS_ORGANIZATION_ID')
  oauthClientIds: split(readEnvironmentVariable('GENESYS_OAUTH_CLIENT_IDS'), ',')
  divisionIds: split(readEnvironmentVariable('GENESYS_DIVISION_IDS'), ',')
}
param gateway = {
  name: readEnvironmentVariable('GATEWAY_NAME')
  resourceGroup: readEnvironmentVariable('GATEWAY_RESOURCE_GROUP')
  host: 'api.vc.maxconf.ca'
  product: readEnvironmentVariable('GATEWAY_PRODUCT', '')
  olderService: readEnvironmentVariable('OLDER_SERVICE_URL', '')
}
param widgetOrigins = split(readEnvironmentVariable('CORS_ALLOWED_ORIGINS'), ',')
param conferencingNodes = split(readEnvironmentVariable('PEXIP_CONFERENCING_NODES'), ',')
param smokeAddresses = split(readEnvironmentVariable('SMOKE_ADDRESSES'), ',')
param alertEmail = readEnvironmentVariable('ALERT_EMAIL')
param repository = readEnvironmentVariable('GITHUB_REPOSITORY')
