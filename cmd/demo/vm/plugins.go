package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// The resource of the stand-in for a device plugin, and the name of the DRA driver.
const (
	widget    = "vm.example.com/widget"
	draDriver = "dra.vm.example.com"
)

// pluginSteps run a device plugin, a DRA driver and a second runtime class.
func pluginSteps() []step {
	return []step{
		{name: "device-plugin", run: func(ctx context.Context, l *leg) error { return l.devicePlugin(ctx) }},
		{name: "device-plugin-after-restarts", run: func(ctx context.Context, l *leg) error { return l.devicePluginRestarts(ctx) }},
		{name: "device-plugin-goes", run: func(ctx context.Context, l *leg) error {
			if err := sh("systemctl stop widgets")(ctx, l); err != nil {
				return err
			}
			if err := l.allocatable(ctx, widget, 0); err != nil {
				return err
			}
			return l.deletePods(ctx, "widget")
		}},
		{name: "dra-driver", run: func(ctx context.Context, l *leg) error { return l.dra(ctx) }},
		{name: "runtime-class", run: func(ctx context.Context, l *leg) error { return l.runtimeClass(ctx) }},
	}
}

// standIn starts a stand-in as a unit of the machine. Its state is on the port given.
func standIn(unit, program, port string, variables ...string) string {
	script := "systemctl stop -q " + unit + " 2>/dev/null; systemctl reset-failed -q " + unit + " 2>/dev/null; systemd-run -q --unit=" + unit + " --setenv=PORT=" + port
	for _, v := range variables {
		script += " --setenv='" + v + "'"
	}
	return script + " /root/kit/standin " + program
}

// devicePlugin runs a plugin with two devices, and a pod with one of them.
func (l *leg) devicePlugin(ctx context.Context) error {
	if err := sh("mkdir -p /srv/widget && echo 'from the plugin' > /srv/widget/note; "+
		standIn("widgets", "device-plugin", "8098", "RESOURCE="+widget, "DEVICES=a b", "FOLDER=/srv/widget"))(ctx, l); err != nil {
		return err
	}
	if err := l.allocatable(ctx, widget, 2); err != nil {
		return err
	}
	p := pod{name: "widget", script: idle, container: `    resources: {limits: {` + widget + `: "1"}}`}
	if err := l.apply(ctx, p.yaml()); err != nil {
		return err
	}
	if err := l.waitPod(ctx, p.name, podIsReady(true)); err != nil {
		return err
	}
	return inPod(p.name, `test "$WIDGET" = a -o "$WIDGET" = b && test -c /dev/widget && echo x > /dev/widget && grep -q plugin /widget/note && ! touch /widget/x 2>/dev/null`)(ctx, l)
}

// devicePluginRestarts ends edgecore and the plugin: the pod goes on, the other device is still
// free, and a third one does not exist.
func (l *leg) devicePluginRestarts(ctx context.Context) error {
	var before corev1.Pod
	if err := l.kube.Get(ctx, &before, "pod", "widget", "-n", namespace); err != nil {
		return err
	}
	if err := sh("systemctl kill --signal=KILL widgets; systemctl kill --signal=KILL edgecore; sleep 3; "+
		standIn("widgets", "device-plugin", "8098", "RESOURCE="+widget, "DEVICES=a b", "FOLDER=/srv/widget"))(ctx, l); err != nil {
		return err
	}
	if err := l.allocatable(ctx, widget, 2); err != nil {
		return err
	}
	other := pod{name: "other-widget", script: idle, container: `    resources: {limits: {` + widget + `: "1"}}`}
	if err := l.apply(ctx, other.yaml()); err != nil {
		return err
	}
	if err := l.waitPod(ctx, other.name, podIsReady(true)); err != nil {
		return err
	}
	first, err := l.exec(ctx, "widget", `echo "$WIDGET"`)
	if err != nil {
		return err
	}
	second, err := l.exec(ctx, other.name, `echo "$WIDGET"`)
	if err != nil {
		return err
	}
	if first == second {
		return fmt.Errorf("two pods have the device %q", first)
	}
	var after corev1.Pod
	if err := l.kube.Get(ctx, &after, "pod", "widget", "-n", namespace); err != nil {
		return err
	}
	if a, b := before.Status.ContainerStatuses[0], after.Status.ContainerStatuses[0]; a.ContainerID != b.ContainerID || b.RestartCount != 0 {
		return fmt.Errorf("the container was restarted: %s, then %s", a.ContainerID, describe(&after))
	}
	return l.deletePods(ctx, other.name)
}

// allocatable waits until the node has n of a resource for pods.
func (l *leg) allocatable(ctx context.Context, name corev1.ResourceName, n int64) error {
	return await(ctx, podLimit, func(ctx context.Context) error {
		var node corev1.Node
		if err := l.kube.Get(ctx, &node, "node", l.node); err != nil {
			return err
		}
		if got := node.Status.Allocatable[name]; got.Cmp(*resource.NewQuantity(n, resource.DecimalSI)) != 0 {
			return fmt.Errorf("node %s has %s of %s, want %d", l.node, got.String(), name, n)
		}
		return nil
	})
}

// draYAML is a class of devices, one device of the node, and a pod that claims it.
const draYAML = `
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata: {name: vm-widgets}
spec: {selectors: [{cel: {expression: 'device.driver == "` + draDriver + `"'}}]}
---
apiVersion: resource.k8s.io/v1
kind: ResourceSlice
metadata: {name: vm-widgets}
spec:
  driver: ` + draDriver + `
  nodeName: NODE
  pool: {name: pool, generation: 1, resourceSliceCount: 1}
  devices: [{name: first}]
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: widget, namespace: ` + namespace + `}
spec: {spec: {devices: {requests: [{name: widget, exactly: {deviceClassName: vm-widgets}}]}}}
---`

// dra runs a driver, and a pod with a claim of its own. Containerd 1.6 knows no CDI devices.
func (l *leg) dra(ctx context.Context) error {
	if l.containerd == "1.6" {
		return nil
	}
	if err := sh(standIn("claims", "dra-driver", "8097", "DRIVER="+draDriver))(ctx, l); err != nil {
		return err
	}
	p := pod{name: "claims", script: idle, container: "    resources: {claims: [{name: device}]}", pod: "  resourceClaims: [{name: device, resourceClaimTemplateName: widget}]"}
	if err := l.apply(ctx, draYAML+p.yaml()); err != nil {
		return err
	}
	if err := l.waitPod(ctx, p.name, podIsReady(true)); err != nil {
		return err
	}
	if err := inPod(p.name, `test -n "$DRA_CLAIM" || { env; exit 1; }`)(ctx, l); err != nil {
		return err
	}
	if err := l.deletePods(ctx, p.name); err != nil {
		return err
	}
	if err := shWait(podLimit, `busybox wget -qO- http://127.0.0.1:8097/state | grep -q '"prepared":null' || { busybox wget -qO- http://127.0.0.1:8097/state; exit 1; }`)(ctx, l); err != nil {
		return err
	}
	err := sh("systemctl stop claims")(ctx, l)
	_, gone := l.kube.Run(ctx, "", "delete", "deviceclass,resourceslice", "vm-widgets", "--ignore-not-found")
	return errors.Join(err, gone)
}

// runtimeClass runs a pod by the runtime's second handler, and one whose class names a handler
// that the runtime lacks.
func (l *leg) runtimeClass(ctx context.Context) error {
	const classes = `
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: second}
handler: runc2
overhead: {podFixed: {memory: 8Mi}}
---
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: absent}
handler: absent
---`
	second, absent := pod{name: "second", script: idle, pod: "  runtimeClassName: second"}, pod{name: "absent", script: idle, pod: "  runtimeClassName: absent"}
	if err := l.apply(ctx, classes+second.yaml()+"---"+absent.yaml()); err != nil {
		return err
	}
	if err := l.waitPod(ctx, second.name, podIsReady(true)); err != nil {
		return err
	}
	if err := await(ctx, podLimit, func(ctx context.Context) error {
		out, err := l.kube.Run(ctx, "", "get", "events", "-n", namespace, "--field-selector", "involvedObject.name=absent", "-o", "jsonpath={.items[*].message}")
		if err == nil && !strings.Contains(out, `handler "absent"`) {
			err = fmt.Errorf("no event of the pod names its handler: %q", out)
		}
		return err
	}); err != nil {
		return err
	}
	err := l.deletePods(ctx, second.name, absent.name)
	_, gone := l.kube.Run(ctx, "", "delete", "runtimeclass", "second", "absent", "--ignore-not-found")
	return errors.Join(err, gone)
}
