// The identity that the service runs as, and one for each GitHub environment that deploys. User-assigned: a
// system-assigned one is another in each slot and stays there at a swap. What they may do stands beside what they may
// do it to; rights.json says why.

param location string
param name string

@description('GitHub repository, as owner/name.')
param repository string

@description('GitHub environments that deploy to the slots, in the order of the slots.')
param deployers array

resource runtime 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: name
  location: location
}

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

output runtimeId string = runtime.id
output runtimeClientId string = runtime.properties.clientId
output runtimePrincipalId string = runtime.properties.principalId
output deployerPrincipalIds array = [for (deployer, index) in deployers: deployerIdentities[index].properties.principalId]
output deployerClientIds array = [for (deployer, index) in deployers: deployerIdentities[index].properties.clientId]
