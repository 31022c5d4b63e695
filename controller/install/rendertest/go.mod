module github.com/edgekit/edgekit/controller/install/rendertest

go 1.26.0

replace github.com/edgekit/edgekit => ../../..

require (
	github.com/blang/semver/v4 v4.0.0 // indirect
	helm.sh/helm/v4 v4.3.1 // indirect
	sigs.k8s.io/kustomize/api v0.21.2 // indirect
)
