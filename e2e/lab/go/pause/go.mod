// The process that holds a pod's namespaces.
module tripod.cloud/e2e/lab/pause

go 1.26.0
