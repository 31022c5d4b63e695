package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// servicesLabel lets the node have all Services.
const servicesLabel = "edgekit.node-restriction.kubernetes.io/services=all"

// podLimit is how long a pod may take, on a machine that is emulated.
const podLimit = 5 * time.Minute

func podSteps() []step {
	return append(shortPodSteps(), []step{
		{name: "readiness", run: func(ctx context.Context, l *leg) error { return l.readiness(ctx) }},
		{name: "liveness", run: func(ctx context.Context, l *leg) error { return l.liveness(ctx) }},
		{name: "volume-emptydir", run: inPod("web", "grep -q written /scratch/file")},
		{name: "volume-emptydir-in-memory", run: inPod("web", "grep -q ' /memory tmpfs .*size=131072k' /proc/mounts")},
		{name: "volume-configmap", run: inPod("web", "grep -q greeting /config/text")},
		{name: "volume-secret", run: inPod("web", "grep -q swordfish /secret/password && grep -q ' /secret tmpfs' /proc/mounts")},
		{name: "volume-hostpath", run: func(ctx context.Context, l *leg) error {
			if err := sh("echo 'from the host' > /srv/site/file; mkdir -p /srv/site/later && mount -t tmpfs later /srv/site/later && echo mounted > /srv/site/later/file")(ctx, l); err != nil {
				return err
			}
			err := inPod("web", "grep -q host /host/file && grep -q mounted /host/later/file")(ctx, l)
			return errors.Join(err, sh("umount /srv/site/later")(ctx, l))
		}},
		{name: "volume-nfs", run: func(ctx context.Context, l *leg) error { return l.nfs(ctx) }},
		{name: "volume-downward-api", run: inPod("web", "grep -q web /about/name")},
		{name: "volume-configmap-follows", run: func(ctx context.Context, l *leg) error {
			if _, err := l.kube.Run(ctx, "", "patch", "configmap", "config", "-n", namespace, "-p", `{"data":{"text":"changed"}}`); err != nil {
				return err
			}
			return await(ctx, podLimit, func(ctx context.Context) error { return inPod("web", "grep -q changed /config/text")(ctx, l) })
		}},
		{name: "kubectl-logs", run: func(ctx context.Context, l *leg) error {
			out, err := l.kube.Run(ctx, "", "logs", "web", "-n", namespace)
			if err == nil && !strings.Contains(out, "begun") {
				err = fmt.Errorf("kubectl logs says %q", out)
			}
			return err
		}},
		{name: "service-variables", run: func(ctx context.Context, l *leg) error { return l.serviceVariables(ctx) }},
		{name: "dns", run: func(ctx context.Context, l *leg) error { return l.dns(ctx) }},
		{name: "device-twin", run: func(ctx context.Context, l *leg) error { return l.twin(ctx) }},
		{name: "resize", run: func(ctx context.Context, l *leg) error { return l.resize(ctx) }},
		{name: "resize-deferred", run: func(ctx context.Context, l *leg) error { return l.resizeDeferred(ctx) }},
	}...)
}

// shortPodSteps are those of a machine that is emulated slowly.
func shortPodSteps() []step {
	return []step{
		{name: "pods-ready", run: func(ctx context.Context, l *leg) error {
			if _, err := l.kube.Run(ctx, "", "label", "node", l.node, servicesLabel, "--overwrite"); err != nil {
				return err
			}
			if err := l.apply(ctx, podsYAML); err != nil {
				return err
			}
			if err := l.countPods(ctx, 5); err != nil {
				return err
			}
			return await(ctx, 10*time.Minute, l.podsRun)
		}, must: true},
		{name: "limits-in-cgroups", run: func(ctx context.Context, l *leg) error {
			return l.cgroupFiles(ctx, "guaranteed", map[string]string{"cpu.max": "10000 100000", "memory.max": "50331648", "../cpu.max": "10000 100000", "../memory.max": "50331648"})
		}},
		{name: "cgroups-of-the-driver", run: func(ctx context.Context, l *leg) error { return l.cgroupNames(ctx) }},
		{name: "pods-are-outside-of-the-unit", run: sh(`[ "$(cat /sys/fs/cgroup/system.slice/edgecore.service/cgroup.procs)" = "$(systemctl show -P MainPID edgecore)" ]`)},
		{name: "kubectl-exec", run: inPod("guaranteed", "true")},
	}
}

// inPod runs a shell command in a pod's container, through the cloud.
func inPod(name, script string) func(context.Context, *leg) error {
	return func(ctx context.Context, l *leg) error {
		_, err := l.exec(ctx, name, script)
		return err
	}
}

func (l *leg) exec(ctx context.Context, name, script string) (string, error) {
	return l.kube.Run(ctx, "", "exec", name, "-n", namespace, "-c", "main", "--", "sh", "-c", script)
}

// countPods waits until the API server has so many pods on the node.
func (l *leg) countPods(ctx context.Context, n int) error {
	return await(ctx, podLimit, func(ctx context.Context) error {
		pods, err := l.pods(ctx)
		if err == nil && len(pods) != n {
			err = fmt.Errorf("node %s has %d pods, want %d", l.node, len(pods), n)
		}
		return err
	})
}

// waitPod waits until a pod is as wanted.
func (l *leg) waitPod(ctx context.Context, name string, ok func(*corev1.Pod) error) error {
	return await(ctx, podLimit, func(ctx context.Context) error {
		var p corev1.Pod
		if err := l.kube.Get(ctx, &p, "pod", name, "-n", namespace); err != nil {
			return err
		}
		return ok(&p)
	})
}

func podIsReady(want bool) func(*corev1.Pod) error {
	return func(p *corev1.Pod) error {
		if isReady(p) != want {
			return fmt.Errorf("want Ready %v: %s", want, describe(p))
		}
		return nil
	}
}

// deletePods deletes pods and waits until they are gone.
func (l *leg) deletePods(ctx context.Context, names ...string) error {
	_, err := l.kube.Run(ctx, "", append([]string{"delete", "pod", "-n", namespace, "--timeout=300s"}, names...)...)
	return err
}

// container finds the cgroup of a pod's container main, below /sys/fs/cgroup.
func (l *leg) container(ctx context.Context, name string) (string, error) {
	var p corev1.Pod
	if err := l.kube.Get(ctx, &p, "pod", name, "-n", namespace); err != nil {
		return "", err
	}
	tasks, err := l.running(ctx)
	if err != nil {
		return "", err
	}
	for _, c := range p.Status.ContainerStatuses {
		for _, t := range tasks {
			if c.Name == "main" && strings.HasSuffix(c.ContainerID, "://"+t.id) {
				return t.cgroup, nil
			}
		}
	}
	return "", errors.New("its container does not run: " + describe(&p))
}

// cgroupFiles checks the contents of files in the cgroup of a pod's container.
func (l *leg) cgroupFiles(ctx context.Context, name string, want map[string]string) error {
	group, err := l.container(ctx, name)
	if err != nil {
		return err
	}
	var wrong []string
	for file, text := range want {
		got, err := l.machine.run(ctx, "cat /sys/fs/cgroup"+group+"/"+file)
		if err != nil {
			return err
		}
		if got = strings.TrimSpace(got); got != text {
			wrong = append(wrong, fmt.Sprintf("%s/%s is %q, want %q", group, file, got, text))
		}
	}
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "; "))
	}
	return nil
}

// cgroupNames checks that each class of service has the cgroup that the driver names.
func (l *leg) cgroupNames(ctx context.Context) error {
	for name, want := range map[string]string{"guaranteed": "/kubepods/pod", "web": "/kubepods/burstable/pod", "besteffort": "/kubepods/besteffort/pod"} {
		if l.driver == "systemd" {
			want = map[string]string{
				"guaranteed": "/kubepods.slice/kubepods-pod", "web": "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod",
				"besteffort": "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod",
			}[name]
		}
		group, err := l.container(ctx, name)
		if err != nil {
			return err
		}
		if !strings.HasPrefix(group, want) || strings.HasSuffix(group, ".scope") != (l.driver == "systemd") {
			return fmt.Errorf("pod %s is in %s, want a name that begins with %s", name, group, want)
		}
	}
	return nil
}

// readiness takes the page away that the probe asks for, and brings it back.
func (l *leg) readiness(ctx context.Context) error {
	if _, err := l.exec(ctx, "web", "rm /scratch/index.html"); err != nil {
		return err
	}
	if err := l.waitPod(ctx, "web", podIsReady(false)); err != nil {
		return err
	}
	if _, err := l.exec(ctx, "web", "echo up > /scratch/index.html"); err != nil {
		return err
	}
	return l.waitPod(ctx, "web", podIsReady(true))
}

// liveness runs a pod whose probe fails: its container is restarted.
func (l *leg) liveness(ctx context.Context) error {
	p := pod{name: "unhealthy", script: idle, container: "    livenessProbe: {exec: {command: [test, -e, /absent]}, periodSeconds: 2, timeoutSeconds: 30, failureThreshold: 2}"}
	if err := l.apply(ctx, p.yaml()); err != nil {
		return err
	}
	if err := l.waitPod(ctx, p.name, func(p *corev1.Pod) error {
		if s := p.Status.ContainerStatuses; len(s) == 1 && s[0].RestartCount > 0 && s[0].LastTerminationState.Terminated != nil {
			return nil
		}
		return errors.New("it was not restarted: " + describe(p))
	}); err != nil {
		return err
	}
	return l.deletePods(ctx, p.name)
}

// resize changes the CPU and the memory of a container that runs.
func (l *leg) resize(ctx context.Context) error {
	if err := l.patchResources(ctx, `{"cpu":"200m","memory":"64Mi"}`); err != nil {
		return err
	}
	err := l.waitPod(ctx, "guaranteed", func(p *corev1.Pod) error {
		s := p.Status.ContainerStatuses[0]
		if s.RestartCount != 0 {
			return fmt.Errorf("the container was restarted %d times", s.RestartCount)
		}
		if s.Resources == nil || s.Resources.Limits.Cpu().MilliValue() != 200 || s.Resources.Limits.Memory().Value() != 64<<20 {
			return fmt.Errorf("status has resources %+v", s.Resources)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return await(ctx, podLimit, func(ctx context.Context) error {
		return l.cgroupFiles(ctx, "guaranteed", map[string]string{"cpu.max": "20000 100000", "memory.max": "67108864", "../cpu.max": "20000 100000", "../memory.max": "67108864"})
	})
}

func (l *leg) patchResources(ctx context.Context, all string) error {
	_, err := l.kube.Run(ctx, "", "patch", "pod", "guaranteed", "-n", namespace, "--subresource", "resize",
		"-p", `{"spec":{"containers":[{"name":"main","resources":{"requests":`+all+`,"limits":`+all+`}}]}}`)
	return err
}

// resizeDeferred asks for all processors, of which another pod has a part, and goes back.
func (l *leg) resizeDeferred(ctx context.Context) error {
	if err := l.patchResources(ctx, `{"cpu":"2","memory":"64Mi"}`); err != nil {
		return err
	}
	pending := func(want bool) func(*corev1.Pod) error {
		return func(p *corev1.Pod) error {
			for _, c := range p.Status.Conditions {
				if c.Type == corev1.PodResizePending && c.Status == corev1.ConditionTrue && c.Reason == corev1.PodReasonDeferred {
					if want {
						return nil
					}
					return errors.New("the condition PodResizePending stays: " + c.Message)
				}
			}
			if want {
				return errors.New("no condition PodResizePending with reason Deferred: " + describe(p))
			}
			return nil
		}
	}
	if err := l.waitPod(ctx, "guaranteed", pending(true)); err != nil {
		return err
	}
	if err := l.patchResources(ctx, `{"cpu":"200m","memory":"64Mi"}`); err != nil {
		return err
	}
	return l.waitPod(ctx, "guaranteed", pending(false))
}
