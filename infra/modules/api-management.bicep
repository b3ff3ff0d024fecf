// The service's API on the existing gateway: one API for each slot, distinguished by its path. What is
// published, and under which policy, is gateway/operations.json; an operation of the OpenAPI document that is not in that
// table fails the checks of tests/infra.

@description('''
The API Management service:
  name           its name
  product        product whose subscription keys IDIM must send; empty: no key is asked for
  olderService   address of the older service's API at the gateway, asked for rooms that are unknown here; empty: never
''')
param gateway object

@description('Host names of the slots, in the order of the slots.')
param siteHostNames array

param slots array
param entra object
param widgetOrigins array
param conferencingNodes array
param smokeAddresses array
param clientAddressHeader string
param applicationInsightsId string
param applicationInsightsConnectionString string

var operations = loadJsonContent('../gateway/operations.json')
// Generated from the code; the template does not compile without it.
var openApiDocument = loadTextContent('../openapi.json')

var apiPolicy = loadTextContent('../gateway/api.xml')
var operationPolicies = {
  idim: loadTextContent('../gateway/idim.xml')
  widget: loadTextContent('../gateway/widget.xml')
  'conferencing-nodes': loadTextContent('../gateway/conferencing-nodes.xml')
  'look-ups': loadTextContent('../gateway/look-ups.xml')
  open: loadTextContent('../gateway/open.xml')
}

var origins = join(map(widgetOrigins, origin => '<origin>${origin}</origin>'), '')
var nodes = join(map(conferencingNodes, address => '<address>${address}</address>'), '')
var clients = join(map(entra.clientIds, id => '<application-id>${id}</application-id>'), '')
// The gateway has no word for a client's own id, so it admits the id and the URI of each client. The service compares each
// token's audience with its own client.
var ownAudiences = flatten(map(entra.clientIds, id => [id, 'api://${id}']))
var accepted = flatten(map(entra.audiences, audience => audience == 'own' ? ownAudiences : [audience]))
var audiences = join(map(accepted, audience => '<audience>${audience}</audience>'), '')
var smokers = join(map(smokeAddresses, address => '<address>${address}</address>'), '')

// What a node's look-up says of a caller, and the tag of the call: the service needs none of it, and no log may hold it.
var ofCallers = [
  'remote_alias'
  'remote_display_name'
  'remote_address'
  'remote_port'
  'vendor'
  'call_tag'
  'service_tag'
  'idp_uuid'
  'teams_tenant_id'
  'third_party_passcode'
  'telehealth_request_id'
  'previous_service_name'
  'ms-subnet'
  'p_Asserted-Identity'
  'P-Asserted-Identity'
]
var withoutCallers = join(map(ofCallers, name => '<set-query-parameter name="${name}" exists-action="delete" />'), '')

// The key is removed before the service gets the request.
var rememberedKey = '<set-variable name="subscription-key" value="@(context.Request.Headers.GetValueOrDefault(&quot;Ocp-Apim-Subscription-Key&quot;, &quot;&quot;))" />'

// Only the smoke test may call the release candidate on Production.
var admissions = [for slot in slots: '${slot.name == 'staging' ? '<ip-filter action="allow">${smokers}</ip-filter>' : ''}${empty(gateway.olderService) ? '' : rememberedKey}']

var keyPolicy = empty(gateway.product) ? '' : loadTextContent('../gateway/options/subscription-key.xml')
var olderPolicy = empty(gateway.olderService) ? '' : replace(loadTextContent('../gateway/options/older-service.xml'), '[[url]]', gateway.olderService)
var credentials = {
  idim: 'Authorization'
  widget: 'x-auth-token'
  'conferencing-nodes': ''
  'look-ups': ''
  open: ''
}

var published = flatten(map(range(0, length(slots)), index => map(operations, operation => {
  api: 'maxconf-${slots[index].name}'
  url: 'https://${siteHostNames[index]}'
  operation: operation.id
  policy: operation.policy
  prefix: slots[index].prefix
})))

// The operations whose callers the gateway itself has verified.
var verified = filter(published, entry => entry.policy == 'idim')

// What must not be logged: identity data in the query, and all credentials.
var masked = {
  // Of a look-up also the alias, which may be anybody's.
  queryParams: map(concat(['uuiData', 'code', 'subscription-key', 'local_alias', 'service_name', 'unique_service_name'], ofCallers), name => { value: name, mode: 'Hide' })
  headers: [
    { value: 'Authorization', mode: 'Hide' }
    { value: 'x-auth-token', mode: 'Hide' }
    { value: 'Ocp-Apim-Subscription-Key', mode: 'Hide' }
  ]
}
var logged = {
  request: { headers: ['x-request-id'], body: { bytes: 0 }, dataMasking: masked }
  response: { headers: ['x-request-id', 'maxconf-version', 'room-source'], body: { bytes: 0 }, dataMasking: masked }
}

resource service 'Microsoft.ApiManagement/service@2024-05-01' existing = {
  name: gateway.name
}

resource insightsLogger 'Microsoft.ApiManagement/service/loggers@2024-05-01' = {
  parent: service
  name: 'maxconf'
  properties: {
    loggerType: 'applicationInsights'
    resourceId: applicationInsightsId
    credentials: { connectionString: applicationInsightsConnectionString }
  }
}

resource monitorLogger 'Microsoft.ApiManagement/service/loggers@2024-05-01' = {
  parent: service
  name: 'azuremonitor'
  properties: {
    loggerType: 'azureMonitor'
    isBuffered: true
  }
}

resource backends 'Microsoft.ApiManagement/service/backends@2024-05-01' = [for (slot, index) in slots: {
  parent: service
  name: 'maxconf-${slot.name}'
  properties: {
    protocol: 'http'
    url: 'https://${siteHostNames[index]}'
    tls: { validateCertificateChain: true, validateCertificateName: true }
  }
}]

// A breaker for each operation of verified callers, so that failures of one operation leave the others alone. The other
// operations have none: whoever has no token could open it for everybody.
resource breakers 'Microsoft.ApiManagement/service/backends@2024-05-01' = [for entry in verified: {
  parent: service
  name: '${entry.api}-${entry.operation}'
  properties: {
    protocol: 'http'
    url: entry.url
    tls: { validateCertificateChain: true, validateCertificateName: true }
    circuitBreaker: {
      rules: [
        {
          name: 'dead-handler'
          // A dead handler or host answers 500. The service's own 502, 503 and 504 are answers that callers can read,
          // and must not be turned into others.
          failureCondition: {
            count: 20
            interval: 'PT10S'
            statusCodeRanges: [{ min: 500, max: 500 }]
          }
          tripDuration: 'PT10S'
          acceptRetryAfter: false
        }
      ]
    }
  }
}]

resource apis 'Microsoft.ApiManagement/service/apis@2024-05-01' = [for slot in slots: {
  parent: service
  name: 'maxconf-${slot.name}'
  properties: {
    displayName: 'MaxConf API (${slot.name})'
    path: slot.gatewayPath
    protocols: ['https']
    // Callers prove themselves with their own tokens. Where no product is named, the key must have another header: the
    // gateway refuses a key for another API even where none is required, and IDIM may still send the older API's.
    subscriptionRequired: false
    subscriptionKeyParameterNames: empty(gateway.product) ? { header: 'x-maxconf-no-key', query: 'x-maxconf-no-key' } : { header: 'Ocp-Apim-Subscription-Key', query: 'subscription-key' }
    format: 'openapi+json'
    value: openApiDocument
  }
}]

resource productApis 'Microsoft.ApiManagement/service/products/apis@2024-05-01' = [for slot in (empty(gateway.product) ? [] : slots): {
  name: '${gateway.name}/${gateway.product}/maxconf-${slot.name}'
  dependsOn: [apis]
}]

resource apiPolicies 'Microsoft.ApiManagement/service/apis/policies@2024-05-01' = [for (slot, index) in slots: {
  parent: apis[index]
  name: 'policy'
  properties: {
    format: 'xml'
    value: replace(replace(replace(replace(apiPolicy, '[[origins]]', origins), '[[admission]]', admissions[index]), '[[backend]]', 'maxconf-${slot.name}'), '[[address_header]]', clientAddressHeader)
  }
  dependsOn: [backends]
}]

resource policiesOfOperations 'Microsoft.ApiManagement/service/apis/operations/policies@2024-05-01' = [for entry in published: {
  name: '${gateway.name}/${entry.api}/${entry.operation}/policy'
  properties: {
    format: 'xml'
    value: replace(replace(replace(replace(replace(replace(replace(replace(replace(operationPolicies[entry.policy], '[[key]]', keyPolicy), '[[older]]', replace(replace(olderPolicy, '[[prefix]]', entry.prefix), '[[credential]]', credentials[entry.policy])), '[[tenant]]', entra.tenantId), '[[clients]]', clients), '[[audiences]]', audiences), '[[nodes]]', nodes), '[[smokers]]', smokers), '[[without_callers]]', withoutCallers), '[[backend]]', '${entry.api}-${entry.operation}')
  }
  dependsOn: [apis, breakers]
}]

resource insightsDiagnostics 'Microsoft.ApiManagement/service/apis/diagnostics@2024-05-01' = [for (slot, index) in slots: {
  parent: apis[index]
  name: 'applicationinsights'
  properties: {
    loggerId: insightsLogger.id
    alwaysLog: 'allErrors'
    httpCorrelationProtocol: 'W3C'
    verbosity: 'information'
    logClientIp: true
    sampling: { samplingType: 'fixed', percentage: 100 }
    frontend: logged
    backend: logged
  }
}]

resource monitorDiagnostics 'Microsoft.ApiManagement/service/apis/diagnostics@2024-05-01' = [for (slot, index) in slots: {
  parent: apis[index]
  name: 'azuremonitor'
  properties: {
    loggerId: monitorLogger.id
    alwaysLog: 'allErrors'
    verbosity: 'information'
    logClientIp: true
    sampling: { samplingType: 'fixed', percentage: 100 }
    frontend: logged
    backend: logged
  }
}]
