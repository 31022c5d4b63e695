package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// settingsSteps run edgecore with a kubelet's configuration file, look at its metrics, give the
// machine another address, and reboot it: its pods end in order. They are not what they were
// afterwards, so this comes last.
func settingsSteps() []step {
	return []step{
		{name: "kubelet-configuration", run: func(ctx context.Context, l *leg) error { return l.kubeletConfiguration(ctx) }},
		{name: "metrics-of-pods", run: func(ctx context.Context, l *leg) error { return await(ctx, podLimit, l.podMetrics) }},
		{name: "address-changes", run: func(ctx context.Context, l *leg) error { return l.otherAddress(ctx) }},
		{name: "shutdown-in-order", run: func(ctx context.Context, l *leg) error { return l.shutdown(ctx) }, must: true},
		{name: "ready-after-the-shutdown", run: func(ctx context.Context, l *leg) error { return l.nodeReady(ctx) }},
	}
}

// kubeletConfiguration takes effect where edgecore's own file has no value.
func (l *leg) kubeletConfiguration(ctx context.Context) error {
	if err := sh(`cat > /etc/edgekit/kubelet.yaml <<'YAML'
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
maxPods: 55
shutdownGracePeriod: 90s
shutdownGracePeriodCriticalPods: 20s
containerLogMaxFiles: 7
YAML`)(ctx, l); err != nil {
		return err
	}
	if err := l.configure(ctx, "kubelet-config: /etc/edgekit/kubelet.yaml"); err != nil {
		return err
	}
	if err := l.allocatable(ctx, corev1.ResourcePods, 55); err != nil {
		return err
	}
	return shWait(podLimit, "systemd-inhibit --list --mode=delay | grep -q edgecore || { systemd-inhibit --list; exit 1; }")(ctx, l)
}

// podMetrics looks for a pod's use of CPU and memory in what dashboards read, through the cloud.
func (l *leg) podMetrics(ctx context.Context) error {
	base := "/api/v1/nodes/" + l.node + "/proxy/"
	cadvisor, err := l.kube.Run(ctx, "", "get", "--raw", base+"metrics/cadvisor")
	if err != nil {
		return err
	}
	for _, series := range []string{"container_cpu_usage_seconds_total", "container_memory_working_set_bytes", "container_memory_rss"} {
		if !hasSeries(cadvisor, series, `container="main"`, `pod="guaranteed"`) {
			return fmt.Errorf("metrics/cadvisor has no %s of the pod guaranteed above 0", series)
		}
	}
	resources, err := l.kube.Run(ctx, "", "get", "--raw", base+"metrics/resource")
	if err != nil {
		return err
	}
	for _, series := range []string{"container_cpu_usage_seconds_total", "pod_memory_working_set_bytes"} {
		if !hasSeries(resources, series, `pod="guaranteed"`) {
			return fmt.Errorf("metrics/resource has no %s of the pod guaranteed above 0", series)
		}
	}
	summary, err := l.kube.Run(ctx, "", "get", "--raw", base+"stats/summary")
	if err == nil && (!strings.Contains(summary, `"guaranteed"`) || !strings.Contains(summary, `"workingSetBytes"`)) {
		err = errors.New("stats/summary does not have the pod guaranteed")
	}
	return err
}

// hasSeries finds a sample above 0 that has all the labels.
func hasSeries(text, series string, labels ...string) bool {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, series+"{")
		if !ok {
			continue
		}
		all, value, ok := strings.Cut(rest, "} ")
		for _, label := range labels {
			ok = ok && strings.Contains(all, label)
		}
		if ok && !strings.HasPrefix(value, "0 ") && strings.TrimSpace(value) != "0" {
			return true
		}
	}
	return false
}

// otherAddress gives the machine another address for a minute. The commands reach the machine
// at its first one only.
func (l *leg) otherAddress(ctx context.Context) error {
	const other = "10.0.2.16"
	if _, err := l.machine.run(ctx, `link=$(ip -o route get `+hostIP+` | sed 's/.* dev \([^ ]*\).*/\1/')
cat > /root/address.sh <<SCRIPT
ip address add `+other+`/24 dev $link && ip address del `+machineIP+`/24 dev $link
ip route replace default via `+hostIP+`
sleep 100
ip address add `+machineIP+`/24 dev $link && ip address del `+other+`/24 dev $link
ip route replace default via `+hostIP+`
SCRIPT
systemd-run -q --on-active=1 sh /root/address.sh`); err != nil {
		return err
	}
	l.machine.disconnect()
	changed := l.internalIP(ctx, other)
	back := l.internalIP(ctx, machineIP)
	return errors.Join(changed, back, await(ctx, podLimit, l.machine.connect))
}

// internalIP waits until the node has an address, and no other.
func (l *leg) internalIP(ctx context.Context, want string) error {
	return await(ctx, podLimit, func(ctx context.Context) error {
		var n corev1.Node
		if err := l.kube.Get(ctx, &n, "node", l.node); err != nil {
			return err
		}
		var got []string
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				got = append(got, a.Address)
			}
		}
		if len(got) != 1 || got[0] != want {
			return fmt.Errorf("node %s has the addresses %v, want %s", l.node, got, want)
		}
		return nil
	})
}

// shutdown powers the machine off while two pods have something to do at their end, the
// critical one after the other, and boots it again.
func (l *leg) shutdown(ctx context.Context) error {
	const ends = `    lifecycle: {preStop: {exec: {command: [sh, -c, "sleep 3; echo NAME >> /end/order; sync /end/order"]}}}
    volumeMounts: [{name: end, mountPath: /end}]`
	const volume = `  volumes: [{name: end, hostPath: {path: /srv/end, type: DirectoryOrCreate}}]
`
	plain := pod{name: "plain", script: idle, container: strings.ReplaceAll(ends, "NAME", "plain"), pod: volume}
	critical := pod{name: "critical", script: idle, container: strings.ReplaceAll(ends, "NAME", "critical"), pod: volume + "  priorityClassName: system-node-critical"}
	for _, p := range []pod{plain, critical} {
		text := strings.Replace(p.yaml(), "terminationGracePeriodSeconds: 2", "terminationGracePeriodSeconds: 15", 1)
		if err := l.apply(ctx, text); err != nil {
			return err
		}
		if err := l.waitPod(ctx, p.name, podIsReady(true)); err != nil {
			return err
		}
	}
	if err := l.machine.powerOff(ctx); err != nil {
		return err
	}
	if err := l.machine.boot(ctx, true); err != nil {
		return err
	}
	out, err := l.machine.run(ctx, "cat /srv/end/order")
	if err == nil && strings.Join(strings.Fields(out), " ") != "plain critical" {
		err = fmt.Errorf("pods that had ended before the machine was off: %q, want plain and then critical", out)
	}
	if err != nil {
		return err
	}
	return await(ctx, 10*time.Minute, func(ctx context.Context) error {
		var p corev1.Pod
		if err := l.kube.Get(ctx, &p, "pod", "plain", "-n", namespace); err != nil {
			return err
		}
		if p.Status.Phase != corev1.PodFailed || p.Status.Reason != "Terminated" {
			return errors.New("want a pod that was ended by the shutdown: " + describe(&p))
		}
		return nil
	})
}
