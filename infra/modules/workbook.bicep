// The dashboard. What it asks stands in workbook.json, as the portal's editor of workbooks reads and writes it.

param location string
param environment string
param workspaceId string

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, 'workbook')
  location: location
  kind: 'shared'
  properties: {
    displayName: 'MaxConf ${environment}'
    category: 'workbook'
    sourceId: workspaceId
    version: 'Notebook/1.0'
    serializedData: replace(loadTextContent('../workbook.json'), '<workspace>', workspaceId)
  }
}
