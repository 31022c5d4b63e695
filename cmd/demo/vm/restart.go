package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// restartSteps end edgecore and containerd in every way but a power cut.
func restartSteps() []step {
	active := `[ "$(systemctl show -P ActiveState edgecore)/$(systemctl show -P SubState edgecore)" = active/running ]`
	return []step{
		{name: "edgecore-restart", run: restarts("systemctl restart edgecore", active)},
		{name: "edgecore-killed", run: restarts("systemctl kill --signal=KILL edgecore; sleep 3", active+` && [ "$(systemctl show -P NRestarts edgecore)" -ge 1 ]`)},
		{name: "edgecore-stopped-for-a-while", run: restarts(`systemctl stop edgecore && [ "$(systemctl show -P Result edgecore)" = success ] && sleep 20 && systemctl start edgecore`, active)},
		{name: "containerd-restart", run: restarts("systemctl restart containerd", "ctr -n k8s.io version >/dev/null")},
		{name: "containerd-killed", run: restarts("systemctl kill --signal=KILL --kill-who=main containerd; sleep 3; systemctl start containerd", "ctr -n k8s.io version >/dev/null")},
		{name: "no-container-was-restarted", run: func(ctx context.Context, l *leg) error {
			return await(ctx, podLimit, func(ctx context.Context) error {
				pods, err := l.pods(ctx)
				if err != nil {
					return err
				}
				for _, p := range pods {
					for _, s := range p.Status.ContainerStatuses {
						if s.RestartCount != 0 || !s.Ready {
							return fmt.Errorf("pod %s, container %s: %d restarts: %s", p.Name, s.Name, s.RestartCount, describe(&p))
						}
					}
				}
				return nil
			})
		}},
		{name: "limits-after-restarts", run: func(ctx context.Context, l *leg) error {
			return l.sameLimits(ctx)
		}},
	}
}

// restarts runs a script that ends a program, waits for what makes it good again, and checks
// that every process of a container is the same, and that the node answers.
func restarts(script, good string) func(context.Context, *leg) error {
	return func(ctx context.Context, l *leg) error {
		if err := l.noteLimits(ctx); err != nil {
			return err
		}
		before, err := l.running(ctx)
		if err != nil {
			return err
		}
		l.tasks = lines(before)
		if _, err := l.machine.run(ctx, script); err != nil {
			return err
		}
		if err := shWait(5*time.Minute, good)(ctx, l); err != nil {
			return err
		}
		if err := await(ctx, 5*time.Minute, func(ctx context.Context) error { return inPod("guaranteed", "true")(ctx, l) }); err != nil {
			return err
		}
		if err := l.nodeReady(ctx); err != nil {
			return err
		}
		return errors.Join(spared(ctx, l), await(ctx, podLimit, l.podsRun))
	}
}

// limitFiles are files of the cgroup of the pod guaranteed.
var limitFiles = []string{"cpu.max", "memory.max", "../cpu.max", "../memory.max", "../cpu.weight"}

// noteLimits keeps what the cgroup files of the pod guaranteed have, the first time.
func (l *leg) noteLimits(ctx context.Context) error {
	if l.limits != nil {
		return nil
	}
	all, err := l.readLimits(ctx)
	if err == nil {
		l.limits = all
	}
	return err
}

func (l *leg) readLimits(ctx context.Context) (map[string]string, error) {
	group, err := l.container(ctx, "guaranteed")
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, file := range limitFiles {
		out, err := l.machine.run(ctx, "cat /sys/fs/cgroup"+group+"/"+file)
		if err != nil {
			return nil, err
		}
		all[file] = strings.TrimSpace(out)
	}
	return all, nil
}

// sameLimits checks that the pod guaranteed has the limits that it had.
func (l *leg) sameLimits(ctx context.Context) error {
	if l.limits == nil {
		return errors.New("the limits were not read before")
	}
	return await(ctx, podLimit, func(ctx context.Context) error { return l.cgroupFiles(ctx, "guaranteed", l.limits) })
}

// endSteps delete everything and look for what is left.
func endSteps() []step {
	return []step{
		{name: "edgecore-memory", run: func(ctx context.Context, l *leg) error {
			kib, err := l.number(ctx, "awk '/VmRSS/ {print $2}' /proc/$(systemctl show -P MainPID edgecore)/status")
			if err != nil {
				return err
			}
			mib := float64(kib) / 1024
			fmt.Printf("  edgecore has %.1f MiB resident\n", mib)
			l.results.mib = max(l.results.mib, mib)
			if mib > 64 {
				return fmt.Errorf("%.1f MiB resident, want at most 64", mib)
			}
			return nil
		}},
		{name: "nothing-was-refused-by-the-unit", run: sh(`out=$(journalctl -q -o cat -u edgecore | grep -iE 'operation not permitted|permission denied|bad system call' | head -5); [ -z "$out" ] || { echo "$out"; exit 1; }`)},
		{name: "no-panic", run: sh(`out=$(journalctl -q -o cat -u edgecore | grep -E '^(panic|fatal error|goroutine [0-9])' | head -5); [ -z "$out" ] || { echo "$out"; exit 1; }`)},
		{name: "pods-deleted", run: func(ctx context.Context, l *leg) error {
			if _, err := l.kube.Run(ctx, "", "delete", "deployment", "--all", "-n", namespace, "--timeout=300s"); err != nil {
				return err
			}
			if _, err := l.kube.Run(ctx, "", "delete", "pods", "--all", "-n", namespace, "--timeout=600s"); err != nil {
				return err
			}
			return l.countPods(ctx, 0)
		}},
		{name: "nothing-left", run: func(ctx context.Context, l *leg) error { return await(ctx, podLimit, l.nothingElse) }},
		{name: "power-off", run: func(ctx context.Context, l *leg) error {
			l.keepLogs(ctx, nil) // while the machine can still be asked
			return l.machine.powerOff(ctx)
		}},
	}
}
