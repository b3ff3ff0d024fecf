// The alert rules. alerts.yaml defines the log alerts; the runbook has a section for each.

param location string
param environment string
param workspaceId string
param applicationInsightsId string
param actionGroupId string
param siteId string
param vaultIds array

@description('Public address of the API; ends in /.')
param gatewayUrl string

var rules = loadYamlContent('../alerts.yaml')
var logAlerts = rules.logAlerts
var activityAlerts = rules.activityAlerts
var environmentId = resourceGroup().id

resource logRules 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [for rule in logAlerts: {
  name: 'maxconf-${environment}-${rule.name}'
  location: location
  kind: 'LogAlert'
  properties: {
    displayName: 'MaxConf ${environment}: ${rule.title}'
    description: 'Runbook: infra/docs/incidents.md, ${rule.name}'
    severity: rule.severity
    enabled: true
    scopes: [workspaceId]
    evaluationFrequency: rule.every
    windowSize: rule.window
    autoMitigate: true
    criteria: {
      allOf: [
        {
          query: rule.query
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: 0
          failingPeriods: {
            numberOfEvaluationPeriods: rule.periods
            minFailingPeriodsToAlert: rule.periods
          }
        }
      ]
    }
    actions: { actionGroups: [actionGroupId] }
  }
}]

resource activityRules 'Microsoft.Insights/activityLogAlerts@2020-10-01' = [for rule in activityAlerts: {
  name: 'maxconf-${environment}-${rule.name}'
  location: 'global'
  properties: {
    description: 'Runbook: infra/docs/incidents.md, ${rule.name}'
    enabled: true
    scopes: [environmentId]
    condition: {
      allOf: concat([
        { field: 'category', equals: 'Administrative' }
        { anyOf: map(rule.operations, operation => { field: 'operationName', equals: operation }) }
      ], rule.failuresOnly ? [{ field: 'status', equals: 'Failed' }] : [])
    }
    actions: { actionGroups: [{ actionGroupId: actionGroupId }] }
  }
}]

// A probe from outside, through the gateway; it also checks the expiry of the gateway's certificate.
resource outsideTest 'Microsoft.Insights/webtests@2022-06-15' = {
  name: 'maxconf-${environment}-outside'
  location: location
  kind: 'standard'
  tags: { 'hidden-link:${applicationInsightsId}': 'Resource' }
  properties: {
    SyntheticMonitorId: 'maxconf-${environment}-outside'
    Name: 'maxconf-${environment}-outside'
    Enabled: true
    Frequency: 300
    Timeout: 30
    Kind: 'standard'
    RetryEnabled: true
    Locations: [
      { Id: 'us-va-ash-azr' }
      { Id: 'us-ca-sjc-azr' }
      { Id: 'us-il-ch1-azr' }
    ]
    Request: {
      RequestUrl: '${gatewayUrl}health/live'
      HttpVerb: 'GET'
    }
    ValidationRules: {
      ExpectedHttpStatusCode: 200
      SSLCheck: true
      SSLCertRemainingLifetimeCheck: 30
    }
  }
}

resource outsideRule 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: 'maxconf-${environment}-outside'
  location: 'global'
  properties: {
    description: 'Runbook: infra/docs/incidents.md, outside'
    severity: 1
    enabled: true
    scopes: [outsideTest.id, applicationInsightsId]
    evaluationFrequency: 'PT1M'
    windowSize: 'PT5M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.WebtestLocationAvailabilityCriteria'
      webTestId: outsideTest.id
      componentId: applicationInsightsId
      failedLocationCount: 2
    }
    actions: [{ actionGroupId: actionGroupId }]
  }
}

// The platform's own metric, which exists even if the service exports nothing.
resource deadHandlerRule 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: 'maxconf-${environment}-dead-handler'
  location: 'global'
  properties: {
    description: 'Runbook: infra/docs/incidents.md, dead-handler'
    severity: 1
    enabled: true
    scopes: [siteId]
    evaluationFrequency: 'PT1M'
    windowSize: 'PT5M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'unhealthy'
          metricName: 'HealthCheckStatus'
          metricNamespace: 'Microsoft.Web/sites'
          timeAggregation: 'Average'
          operator: 'LessThan'
          threshold: 100
        }
      ]
    }
    actions: [{ actionGroupId: actionGroupId }]
  }
}

// A vault sends this event 30 days before the expiry.
resource vaultEvents 'Microsoft.EventGrid/systemTopics@2025-02-15' = [for (vaultId, index) in vaultIds: {
  name: index == 0 ? 'maxconf-${environment}-vault' : 'maxconf-${environment}-vault-${index}'
  location: location
  properties: {
    source: vaultId
    topicType: 'Microsoft.KeyVault.vaults'
  }
}]

resource expiry 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = [for (vaultId, index) in vaultIds: {
  parent: vaultEvents[index]
  name: 'expiry'
  properties: {
    eventDeliverySchema: 'CloudEventSchemaV1_0'
    filter: {
      includedEventTypes: [
        'Microsoft.KeyVault.SecretNearExpiry'
        'Microsoft.KeyVault.SecretExpired'
        'Microsoft.KeyVault.CertificateNearExpiry'
        'Microsoft.KeyVault.CertificateExpired'
      ]
    }
    destination: {
      endpointType: 'MonitorAlert'
      properties: {
        severity: 'Sev2'
        description: 'Runbook: infra/docs/incidents.md, expiry'
        actionGroups: [actionGroupId]
      }
    }
  }
}]
