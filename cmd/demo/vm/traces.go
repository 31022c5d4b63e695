package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// tracesScript lists what pods have in the machine: a kind and a name on each line.
const tracesScript = `
for d in /var/lib/edgekit/pods/*; do [ -e "$d" ] && echo "folder $d"; done
for d in /var/log/pods/*; do [ -e "$d" ] && echo "log $d"; done
for d in /var/log/containers/*; do [ -L "$d" ] && echo "link $d"; done
find /sys/fs/cgroup -type d \( -path '*kubepods*/pod*' -o -path '*kubepods*-pod*' -o -name 'cri-containerd-*' \) | sed 's/^/cgroup /'
grep -o ' /var/lib/edgekit/pods/[^ ]*' /proc/1/mounts | sed 's/^/mount/'
for d in /run/netns/*; do [ -e "$d" ] && echo "netns $d"; done
for d in /var/lib/cni/networks/vm/[0-9]*; do [ -e "$d" ] && echo "address $d"; done
ip -o link show type veth | cut -d: -f2 | sed 's/^/interface/'
ctr -n k8s.io containers ls -q | sed 's/^/container /'
ctr -n k8s.io snapshots ls | awk 'NR > 1 && $3 == "Active" {print "snapshot " $1}'
for p in /proc/[0-9]*; do [ "$(cat $p/comm 2>/dev/null)" = containerd-shim ] && echo "shim $(tr '\0' ' ' < $p/cmdline | grep -o 'id [0-9a-f]*')"; done
true`

// task is one process of a container that runs.
type task struct {
	id, pod string // of the container and of the pod
	line    string
	cgroup  string
}

var uidPattern = regexp.MustCompile(`pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12})`)

// podUID finds the pod's UID in a cgroup's name; "" is none.
func podUID(cgroup string) string {
	m := uidPattern.FindStringSubmatch(cgroup)
	if m == nil {
		return ""
	}
	return strings.ReplaceAll(m[1], "_", "-")
}

// running lists the tasks of all containers that run, sandboxes too.
func (l *leg) running(ctx context.Context) ([]task, error) {
	out, err := l.machine.run(ctx, `set -e; ctr -n k8s.io tasks ls | while read -r id pid status; do
		[ "$pid" = PID ] || [ "$status" != RUNNING ] || echo "$id $pid $(cut -d: -f3 /proc/$pid/cgroup 2>/dev/null)"; done`)
	if err != nil {
		return nil, err
	}
	var all []task
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 3 {
			all = append(all, task{id: f[0], line: f[0] + " " + f[1], cgroup: f[2], pod: podUID(f[2])})
		}
	}
	slices.SortFunc(all, func(a, b task) int { return strings.Compare(a.line, b.line) })
	return all, nil
}

// lines are the processes, to compare.
func lines(tasks []task) (all []string) {
	for _, t := range tasks {
		all = append(all, t.line)
	}
	return all
}

// pods lists the pods that the API server has on the node.
func (l *leg) pods(ctx context.Context) ([]corev1.Pod, error) {
	var all corev1.PodList
	err := l.kube.Get(ctx, &all, "pods", "-A", "--field-selector", "spec.nodeName="+l.node)
	return all.Items, err
}

func ended(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// podsRun checks that each pod of the API server is Ready, and that its status names the
// containers that run in this boot of the machine, each once and with one sandbox; and that
// nothing else runs.
func (l *leg) podsRun(ctx context.Context) error {
	pods, err := l.pods(ctx)
	if err != nil {
		return err
	}
	tasks, err := l.running(ctx)
	if err != nil {
		return err
	}
	var wrong []string
	want := map[string]int{}
	for _, p := range pods {
		if ended(&p) {
			continue
		}
		if p.DeletionTimestamp != nil || !isReady(&p) {
			wrong = append(wrong, describe(&p))
		}
		want[string(p.UID)] = 1 + len(p.Spec.Containers)
		for _, c := range p.Status.ContainerStatuses {
			id := strings.TrimPrefix(c.ContainerID, "containerd://")
			if !slices.ContainsFunc(tasks, func(t task) bool { return t.id == id }) {
				wrong = append(wrong, fmt.Sprintf("pod %s: container %q of the status does not run", p.Name, id))
			}
		}
	}
	got := map[string]int{}
	for _, t := range tasks {
		got[t.pod]++
		if _, ok := want[t.pod]; !ok {
			wrong = append(wrong, "process of no pod: "+t.line+" "+t.cgroup)
		}
	}
	for uid, n := range want {
		if got[uid] != n {
			wrong = append(wrong, fmt.Sprintf("pod %s has %d containers and sandboxes, want %d", uid, got[uid], n))
		}
	}
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "; "))
	}
	return nil
}

// nothingElse checks that what is in the machine belongs to a pod of the API server: what
// names a pod must name one of those, and the rest must be as many as there are pods.
func (l *leg) nothingElse(ctx context.Context) error {
	pods, err := l.pods(ctx)
	if err != nil {
		return err
	}
	out, err := l.machine.run(ctx, tracesScript)
	if err != nil {
		return err
	}
	uids, alive, containers := map[string]bool{}, 0, 0
	for _, p := range pods {
		uids[string(p.UID)] = true
		if !ended(&p) {
			alive++
			containers += len(p.Spec.Containers)
		}
	}
	var left []string
	count := map[string]int{}
	for line := range strings.Lines(out) {
		kind, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		uid := podUID(name)
		if uid == "" {
			uid = uidIn(name)
		}
		switch {
		case uid != "" && !uids[uid]:
			left = append(left, line)
		case uid == "":
			count[kind]++
		}
	}
	for _, kind := range []string{"netns", "address", "interface", "shim"} {
		if count[kind] > alive {
			left = append(left, fmt.Sprintf("%d of kind %s for %d pods", count[kind], kind, alive))
		}
	}
	// A pod may have a record of each container's last run besides that of the current one.
	if most := alive + 2*containers; count["container"] > most {
		left = append(left, fmt.Sprintf("%d containers, want at most %d", count["container"], most))
	}
	if alive == 0 {
		for _, kind := range []string{"link", "container", "snapshot", "mount", "cgroup"} {
			if count[kind] > 0 {
				left = append(left, fmt.Sprintf("%d of kind %s and no pod: %s", count[kind], kind, end(out, 300)))
			}
		}
	}
	if len(left) > 0 {
		return errors.New("left: " + strings.Join(left, "; "))
	}
	return nil
}

var plainUID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// uidIn finds a UID in the path of a folder, a log or a mount. The network namespaces of CNI
// have UIDs of their own.
func uidIn(path string) string {
	if strings.HasPrefix(path, "/run/netns/") {
		return ""
	}
	return plainUID.FindString(path)
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// describe says in a line what is with a pod.
func describe(p *corev1.Pod) string {
	text := fmt.Sprintf("pod %s is %s %s %s", p.Name, p.Status.Phase, p.Status.Reason, p.Status.Message)
	if p.DeletionTimestamp != nil {
		text += ", being deleted"
	}
	for _, c := range p.Status.Conditions {
		if c.Status != corev1.ConditionTrue && c.Message != "" {
			text += ", " + string(c.Type) + ": " + c.Message
		}
	}
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Waiting != nil {
			text += ", " + c.State.Waiting.Reason + " " + c.State.Waiting.Message
		}
		if c.State.Terminated != nil {
			text += fmt.Sprintf(", %s %d %s", c.State.Terminated.Reason, c.State.Terminated.ExitCode, c.State.Terminated.Message)
		}
	}
	return text
}
