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

// apply applies manifests in which NODE and IMAGE stand for the node's name and busybox.
func (l *leg) apply(ctx context.Context, manifests string) error {
	return l.kube.Apply(ctx, strings.NewReplacer("NODE", l.node, "IMAGE", busyboxImage).Replace(manifests))
}
