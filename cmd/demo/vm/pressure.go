package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func pressureSteps() []step {
	return []step{
		{name: "oom-killed", run: func(ctx context.Context, l *leg) error { return l.oomKilled(ctx) }},
		{name: "emptydir-size-limit", run: func(ctx context.Context, l *leg) error {
			return l.evicted(ctx, pod{name: "large", script: "dd if=/dev/zero of=/data/file bs=1M count=20; " + idle,
				container: "    volumeMounts: [{name: data, mountPath: /data}]", pod: "  volumes: [{name: data, emptyDir: {sizeLimit: 8Mi}}]"}, "")
		}},
		{name: "log-rotation", run: func(ctx context.Context, l *leg) error { return l.rotation(ctx) }},
		{name: "memory-eviction", run: func(ctx context.Context, l *leg) error {
			// What the agent sees as available, as a kubelet: the kernel's own memory, some 80 MiB, counts as available.
			mib, err := l.number(ctx, `awk '/MemTotal/ {left += $2 * 1024} $1 == "anon" || $1 == "file" {left -= $2} $1 == "inactive_file" {left += $2}
				END {print int(left / 1048576)}' /proc/meminfo /sys/fs/cgroup/memory.stat`)
			if err != nil {
				return err
			}
			return l.evicted(ctx, pod{name: "hungry", script: "dd if=/dev/zero of=/data/file bs=1M count=" + strconv.Itoa(mib-320) + "; " + idle,
				container: "    volumeMounts: [{name: data, mountPath: /data}]", pod: "  volumes: [{name: data, emptyDir: {medium: Memory}}]"}, corev1.NodeMemoryPressure)
		}},
		{name: "memory-eviction-spares-others", run: spared},
		{name: "memory-pressure-ends", run: noPressure(corev1.NodeMemoryPressure)},
		{name: "disk-eviction", run: func(ctx context.Context, l *leg) error {
			mib, err := l.number(ctx, "df -m --output=avail / | tail -1")
			if err != nil {
				return err
			}
			return l.evicted(ctx, pod{name: "full", script: "fallocate -l $((" + strconv.Itoa(mib-150) + " * 1048576)) /data/file; " + idle,
				container: "    volumeMounts: [{name: data, mountPath: /data}]", pod: "  volumes: [{name: data, emptyDir: {}}]"}, corev1.NodeDiskPressure)
		}},
		{name: "disk-eviction-spares-others", run: spared},
		{name: "disk-pressure-ends", run: noPressure(corev1.NodeDiskPressure)},
		{name: "pods-start-after-the-disk-was-full", run: func(ctx context.Context, l *leg) error {
			if err := l.apply(ctx, pod{name: "after", script: idle}.yaml()); err != nil {
				return err
			}
			return errors.Join(l.waitPod(ctx, "after", podIsReady(true)), l.deletePods(ctx, "after"))
		}},
	}
}

// number is what a command in the machine prints.
func (l *leg) number(ctx context.Context, script string) (int, error) {
	out, err := l.machine.run(ctx, script)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(out))
}

// oomKilled runs a container that needs more than its limit.
func (l *leg) oomKilled(ctx context.Context) error {
	p := pod{name: "oom", script: "dd if=/dev/zero of=/dev/null bs=64M count=1", container: "    resources: {limits: {memory: 24Mi}}", pod: "  restartPolicy: Never"}
	if err := l.apply(ctx, p.yaml()); err != nil {
		return err
	}
	err := l.waitPod(ctx, p.name, func(p *corev1.Pod) error {
		if s := p.Status.ContainerStatuses; len(s) == 1 && s[0].State.Terminated != nil && s[0].State.Terminated.Reason == "OOMKilled" && p.Status.Phase == corev1.PodFailed {
			return nil
		}
		return errors.New("it is not OOMKilled: " + describe(p))
	})
	return errors.Join(err, l.deletePods(ctx, p.name))
}

// evicted runs a pod that must be evicted, with a condition of the node unless that is "",
// while the pods that were there go on.
func (l *leg) evicted(ctx context.Context, p pod, pressure corev1.NodeConditionType) error {
	tasks, err := l.running(ctx)
	if err != nil {
		return err
	}
	l.tasks = lines(tasks)
	if err := l.apply(ctx, p.yaml()); err != nil {
		return err
	}
	seen := pressure == ""
	err = await(ctx, podLimit, func(ctx context.Context) error {
		var got corev1.Pod
		if err := l.kube.Get(ctx, &got, "pod", p.name, "-n", namespace); err != nil {
			return err
		}
		if !seen {
			var n corev1.Node
			if err := l.kube.Get(ctx, &n, "node", l.node); err != nil {
				return err
			}
			seen = l.condition(&n, pressure, corev1.ConditionTrue) == nil
		}
		if got.Status.Phase != corev1.PodFailed || got.Status.Reason != "Evicted" {
			return errors.New("it is not evicted: " + describe(&got))
		}
		if !seen {
			return fmt.Errorf("it is evicted (%s), and the node has no condition %s", got.Status.Message, pressure)
		}
		return nil
	})
	if err == nil {
		err = l.event(ctx, p.name, "Evicted")
	}
	return errors.Join(err, l.deletePods(ctx, p.name))
}

// event waits for an event of a pod.
func (l *leg) event(ctx context.Context, name, reason string) error {
	return await(ctx, podLimit, func(ctx context.Context) error {
		out, err := l.kube.Run(ctx, "", "get", "events", "-n", namespace, "--field-selector", "involvedObject.name="+name+",reason="+reason, "-o", "name")
		if err == nil && out == "" {
			err = fmt.Errorf("pod %s has no event %s", name, reason)
		}
		return err
	})
}

// spared checks that the processes are those from before.
func spared(ctx context.Context, l *leg) error {
	return await(ctx, podLimit, func(ctx context.Context) error {
		tasks, err := l.running(ctx)
		if err != nil {
			return err
		}
		if now := lines(tasks); strings.Join(now, ";") != strings.Join(l.tasks, ";") {
			return fmt.Errorf("before %v, now %v", l.tasks, now)
		}
		return nil
	})
}

// noPressure waits until the node has enough again.
func noPressure(kind corev1.NodeConditionType) func(context.Context, *leg) error {
	return func(ctx context.Context, l *leg) error {
		return await(ctx, podLimit, func(ctx context.Context) error {
			var n corev1.Node
			if err := l.kube.Get(ctx, &n, "node", l.node); err != nil {
				return err
			}
			return l.condition(&n, kind, corev1.ConditionFalse)
		})
	}
}

// rotation writes 1 MiB into a log that may have 100 KiB, in three files.
func (l *leg) rotation(ctx context.Context) error {
	p := pod{name: "talker", script: "for i in $(seq 1 10); do for j in $(seq 1 1000); do echo line $i $j " + strings.Repeat("x", 90) + "; done; sleep 5; done; echo done; " + idle}
	if err := l.apply(ctx, p.yaml()); err != nil {
		return err
	}
	err := await(ctx, podLimit, func(ctx context.Context) error {
		out, err := l.kube.Run(ctx, "", "logs", p.name, "-n", namespace, "--tail=1")
		if err == nil && strings.TrimSpace(out) != "done" {
			err = fmt.Errorf("the end of kubectl logs is %q", end(out, 120))
		}
		return err
	})
	if err == nil {
		err = await(ctx, time.Minute, func(ctx context.Context) error {
			return sh(`cd /var/log/pods/vm_talker_*/main && set -- * && ls -l && [ $# -ge 2 ] && [ $# -le 3 ] && [ "$(du -ck * | tail -1 | cut -f1)" -lt 600 ]`)(ctx, l)
		})
	}
	return errors.Join(err, l.deletePods(ctx, p.name))
}
