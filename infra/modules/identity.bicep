// The identities that the slots run as, and one for each GitHub environment that deploys. What they may do stands beside
// what they may do it to; rights.json says why.
//
// An identity stays with its slot at a swap. But while a swap warms the code of `staging` up, that slot already runs with
// Production's settings, which name Production's identity. User-assigned, so that infra/swap can lend it for that time.

param location string
param name string

@description('GitHub repository, as owner/name.')
param repository string

param slots array

var roles = loadJsonContent('../rights.json').roles
var deployers = map(slots, slot => slot.gitHubEnvironment)
// Those that take part in swaps. Nobody swaps an environment that has no staging.
var swapped = contains(map(slots, slot => slot.name), 'staging') ? slots : []

resource runtimes 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = [for slot in slots: {
  name: slot.name == 'production' ? name : '${name}-${slot.name}'
  location: location
}]

resource deployerIdentities 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = [for deployer in deployers: {
  name: '${name}-deploy-${deployer}'
  location: location
}]

resource federations 'Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials@2024-11-30' = [for (deployer, index) in deployers: {
  parent: deployerIdentities[index]
  name: 'github'
  properties: {
    issuer: 'https://token.actions.githubusercontent.com'
    // The environment's branch rules and reviewers decide who gets this far.
    subject: 'repo:${repository}:environment:${deployer}'
    audiences: ['api://AzureADTokenExchange']
  }
}]

// Whoever swaps lends Production's identity to staging. The write names staging's own as well, so it needs the right on both.
resource lending 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (slot, index) in swapped: {
  scope: runtimes[index]
  name: guid(name, slot.name, 'Managed Identity Operator', deployers[0])
  properties: {
    principalId: deployerIdentities[0].properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Managed Identity Operator'])
  }
}]

output runtimeIds array = [for (slot, index) in slots: runtimes[index].id]
output runtimeClientIds array = [for (slot, index) in slots: runtimes[index].properties.clientId]
output runtimePrincipalIds array = [for (slot, index) in slots: runtimes[index].properties.principalId]
output deployerPrincipalIds array = [for (deployer, index) in deployers: deployerIdentities[index].properties.principalId]
output deployerClientIds array = [for (deployer, index) in deployers: deployerIdentities[index].properties.clientId]
