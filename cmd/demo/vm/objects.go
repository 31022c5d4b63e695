package main

import (
	"context"
	_ "embed"
	"strconv"
	"strings"
)

// namespace of everything that a leg makes in the cluster.
const namespace = "vm"

// podsYAML is what stays for the whole leg.
//
//go:embed pods.yaml
var podsYAML string

// pod is a pod of one busybox container that runs a shell command. Further lines of the
// container and of the pod are indented by four and two blanks.
type pod struct {
	name, script   string
	container, pod string
}

func (p pod) yaml() string {
	return `
apiVersion: v1
kind: Pod
metadata: {name: ` + p.name + `, namespace: ` + namespace + `}
spec:
  nodeSelector: {kubernetes.io/hostname: NODE}
  tolerations: [{operator: Exists}]
  terminationGracePeriodSeconds: 2
` + p.pod + `
  containers:
  - name: main
    image: IMAGE
    imagePullPolicy: IfNotPresent
    command: [sh, -c, ` + strconv.Quote(p.script) + `]
` + p.container + "\n"
}

const idle = "exec sleep 2147483647"

// wrongPod is the pod for the wrong cgroup driver.
var wrongPod = `
apiVersion: v1
kind: Namespace
metadata: {name: ` + namespace + `}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: ` + namespace + `}
---` + pod{name: "wrong", script: idle}.yaml()

// apply applies manifests in which NODE and IMAGE stand for the node's name and busybox. It
// applies them again if an object came to be meanwhile: a namespace's ServiceAccount is made by
// a controller too.
func (l *leg) apply(ctx context.Context, manifests string) error {
	manifests = strings.NewReplacer("NODE", l.node, "IMAGE", busyboxImage).Replace(manifests)
	err := l.kube.Apply(ctx, manifests)
	if err != nil && strings.Contains(err.Error(), "AlreadyExists") {
		err = l.kube.Apply(ctx, manifests)
	}
	return err
}
