// Test: what IDIM's DEV2, SIT, QA and PREPROD and the app's test builds talk to, and the developers' edge slot beside it.
// Values that only the owners of the tenant, of Pexip and of Genesys know come from the GitHub environment `test-infra`
// (infra/docs/deploying.md, Values to supply); infra/deploy reports which are missing.
using 'main.bicep'

param environment = 'test'
param appName = readEnvironmentVariable('APP_NAME', 'fa-maxconf-test')
param instances = 1
param planSku = 'P0v3'
param zoneRedundant = false

param slots = [
  {
    name: 'production'
    hostId: 'maxconf-test'
    queue: 'room-creation-queue'
    records: 'room-records'
    pexipOauthClientId: readEnvironmentVariable('PEXIP_OAUTH_CLIENT_ID', '')
    pexipUsername: readEnvironmentVariable('PEXIP_USERNAME', '')
    prefix: 'vbv-t-'
    instantPrefix: 'vbi-t-'
    roomSource: 'pool'
    poolEmpty: 'direct'
    targetSize: 20
    maxRooms: 1000
    maintains: true
    pexipRequestsPerMinute: 600
    pexipMaxInFlight: 5
    gatewayPath: ''
    gitHubEnvironment: 'test'
  }
  {
    name: 'edge'
    hostId: 'maxconf-test-edge'
    queue: 'room-creation-queue-edge'
    records: 'room-records-edge'
    pexipOauthClientId: readEnvironmentVariable('PEXIP_OAUTH_CLIENT_ID_EDGE', '')
    pexipUsername: readEnvironmentVariable('PEXIP_USERNAME_EDGE', '')
    prefix: 'vbv-e-'
    instantPrefix: 'vbi-e-'
    roomSource: 'pool'
    poolEmpty: 'direct'
    targetSize: 2
    maxRooms: 100
    maintains: true
    pexipRequestsPerMinute: 200
    pexipMaxInFlight: 2
    gatewayPath: 'edge'
    gitHubEnvironment: 'test-edge'
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
  host: 'api.test.vc.maxconf.ca'
  product: readEnvironmentVariable('GATEWAY_PRODUCT', '')
  olderService: readEnvironmentVariable('OLDER_SERVICE_URL', '')
}
param widgetOrigins = split(readEnvironmentVariable('CORS_ALLOWED_ORIGINS'), ',')
param conferencingNodes = split(readEnvironmentVariable('PEXIP_CONFERENCING_NODES'), ',')
param smokeAddresses = split(readEnvironmentVariable('SMOKE_ADDRESSES'), ',')
param alertEmail = readEnvironmentVariable('ALERT_EMAIL')
param repository = readEnvironmentVariable('GITHUB_REPOSITORY')
