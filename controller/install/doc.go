// Package install puts into a cluster what edgekit needs there: the namespace, the definitions
// of its resources, the rights of cloudcore, and cloudcore itself.
//
//	err := install.Ensure(ctx, install.Config{REST: restConfig})
//
// Ensure makes the first three. cloudcore calls it at its start, where it may lack the rights
// and then finds nothing missing. [Objects] lists the objects of any choice of [Options], among
// them cloudcore as a Deployment; [Render] writes them as YAML and [Apply] applies them.
// "edgectl init", "edgectl manifest" and "edgectl upgrade cloud" are made of these.
//
// The source of all is the folder kustomize, a base that kustomize takes as it is. The folder
// chart is a Helm chart with the same objects; "go generate" writes the files of it that have
// another source. The module rendertest renders both and compares them with [Objects].
//
// All may be called at any time, by several programs at once.
package install

//go:generate env EDGEKIT_UPDATE=1 go test -count=1 -run ^TestGeneratedFiles$ .
