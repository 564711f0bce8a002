//go:build tools

// Velero, its plugin for S3, and kopia as Velero has it: peers of the benchmark.
package tools

import (
	_ "github.com/kopia/kopia"
	_ "github.com/vmware-tanzu/velero-plugin-for-aws/velero-plugin-for-aws"
	_ "github.com/vmware-tanzu/velero/cmd/velero"
)
