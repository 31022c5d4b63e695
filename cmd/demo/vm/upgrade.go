package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	jobs "github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// cutLimit bounds a cut: until its moment, the boot, the job's end and the pods.
const cutLimit = 45 * time.Minute

// The two versions of the same source that the machine goes between.
const (
	oldVersion = "v0.9.1"
	newVersion = "v0.9.2"
)

// upgrades is what the cuts found.
type upgrades struct {
	cuts      int
	broken    []string // what was wrong after which cut
	restarted int      // starts of containers beyond the one that a cut itself makes
	jobs      int      // how many jobs there were, for their names
}

// packageSteps install the Debian package on a stock machine, and make it a node by edgectl.
func packageSteps() []step {
	return []step{
		{name: "package", run: sh(`dpkg -i /root/kit/edgekit-edgecore_*.deb >/dev/null && dpkg -V edgekit-edgecore
			edgecore --version | grep -q ` + oldVersion + ` && edgectl --version | grep -q ` + oldVersion), must: true},
		{name: "package-starts-nothing", run: sh(`[ "$(systemctl show -P ActiveState edgecore)/$(systemctl is-enabled edgecore)" = inactive/disabled ]`)},
		{name: "check", run: func(ctx context.Context, l *leg) error { return l.checkMachine(ctx) }},
		{name: "join", run: func(ctx context.Context, l *leg) error { return l.joinByEdgectl(ctx) }, must: true},
		{name: "join-again-does-nothing", run: func(ctx context.Context, l *leg) error {
			before, err := l.machine.run(ctx, "systemctl show -P MainPID edgecore")
			if err != nil {
				return err
			}
			return sh(`edgectl join -e `+l.site.CloudAddress()+` -i `+l.node+` && [ "$(systemctl show -P MainPID edgecore)" = `+strings.TrimSpace(before)+` ]`)(ctx, l)
		}},
		{name: "node-ready", run: func(ctx context.Context, l *leg) error { return l.nodeReady(ctx) }, must: true},
		{name: "status", run: shWait(2*time.Minute, `edgectl status`)},
		{name: "pods-ready", run: func(ctx context.Context, l *leg) error {
			if err := l.apply(ctx, podsYAML); err != nil {
				return err
			}
			if err := l.countPods(ctx, 5); err != nil {
				return err
			}
			return await(ctx, 10*time.Minute, l.podsRun)
		}, must: true},
	}
}

// checkMachine runs edgectl check: whatever fails on a stock machine has a remedy, and after the
// one that is expected nothing fails.
func (l *leg) checkMachine(ctx context.Context) error {
	check := func() (text string, fails []string, err error) {
		text, err = l.machine.run(ctx, `edgectl check --cloud `+l.site.CloudAddress()+`; echo "status $?"`)
		all := strings.Split(text, "\n")
		for i, line := range all {
			if !strings.HasPrefix(strings.TrimSpace(line), "fail ") {
				continue
			}
			fails = append(fails, strings.TrimSpace(line))
			if i+1 == len(all) || !strings.HasPrefix(strings.TrimSpace(all[i+1]), "remedy: ") {
				err = errors.Join(err, fmt.Errorf("no remedy after %q", line))
			}
		}
		return text, fails, err
	}
	text, fails, err := check()
	fmt.Print("  edgectl check:\n    ", strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    "), "\n")
	if err != nil {
		return err
	}
	if len(fails) != 1 || !strings.Contains(fails[0], "net.ipv4.ip_forward") {
		return fmt.Errorf("failing on a stock machine: %q, want net.ipv4.ip_forward alone", fails)
	}
	if err := sh(`echo net.ipv4.ip_forward=1 > /etc/sysctl.d/90-edgekit.conf && sysctl --system >/dev/null`)(ctx, l); err != nil {
		return err
	}
	text, fails, err = check()
	if err == nil && (len(fails) > 0 || !strings.Contains(text, "status 0")) {
		err = fmt.Errorf("failing after the remedies: %q", fails)
	}
	return err
}

// joinByEdgectl makes the machine a node, and waits until it is connected.
func (l *leg) joinByEdgectl(ctx context.Context) error {
	token, err := l.site.Token(ctx, l.node)
	if err != nil {
		return err
	}
	_, err = l.machine.run(ctx, `umask 077; install -D -m644 /root/kit/edgekit.pub /etc/edgekit/trust/release.pub
echo '`+token+`' > /root/token
edgectl join -e `+l.site.CloudAddress()+` -i `+l.node+` --token-file /root/token --wait 10m --set upgrade-plain-http=`+l.upgradeHost()+`
[ "$(systemctl show -P ActiveState edgecore)/$(systemctl is-enabled edgecore)" = active/enabled ]`)
	return err
}

// upgradeSteps upgrade the node and bring it back without a cut, and then with one at each step.
func upgradeSteps(cuts int) []step {
	all := []step{
		{name: "upgrade", run: func(ctx context.Context, l *leg) error { return l.upgradeUncut(ctx, newVersion) }, must: true},
		{name: "upgrade-back", run: func(ctx context.Context, l *leg) error { return l.upgradeUncut(ctx, oldVersion) }, must: true},
	}
	for i := range cuts {
		point := cutPoints[i%len(cutPoints)]
		all = append(all, step{name: "cut-" + strconv.Itoa(i+1) + "-" + point.name, limit: cutLimit, run: func(ctx context.Context, l *leg) error { return l.cutUpgrade(ctx, point) }})
	}
	return all
}

// cutPoint is a moment of an upgrade, as the machine sees it.
type cutPoint struct {
	name  string
	when  string // shell: it has come
	after string // for how many seconds the machine goes on; "" cuts at once
	busy  bool   // the moment is short: ask without a pause
}

const bootRecord = "/var/lib/edgekit/slots/boot"

// cutFunctions are what the moments are asked with: the phase of the boot record, the job that it is
// about (the record has the one before until a job begins), and which program the unit runs.
// committed reads the record once: between two reads it may change from the end of one job to the
// begin of the next.
const cutFunctions = `
phase() { grep -q '"phase":"'$1'"' ` + bootRecord + ` 2>/dev/null; }
job() { grep -o '"id":"[^"]*"' ` + bootRecord + ` 2>/dev/null | head -n 1; }
committed() { grep '"phase":"Committed"' ` + bootRecord + ` 2>/dev/null | grep -qvF "$before"; }
counted() { phase Trial && grep -q '"started":true' ` + bootRecord + `; }
tried() { phase Trial && readlink /proc/$(systemctl show -P MainPID edgecore)/exe | grep -q "/slots/$(grep -o '"candidate":"."' ` + bootRecord + ` | cut -d '"' -f 4)/"; }
before=$(job)
before=${before:-no job before}
`

// cutPoints go through the states of an upgrade in their order.
var cutPoints = []cutPoint{
	{name: "download-begins", when: "phase Downloading"},
	{name: "downloading", when: "phase Downloading", after: "2"},
	{name: "verified", when: "phase Verified"},
	{name: "switched", when: "phase Trial"},
	{name: "trial-counted", when: "counted"},
	{name: "new-program-starts", when: "tried"},
	{name: "new-program-runs", when: "tried", after: "8"},
	{name: "new-program-judged", when: "tried", after: "20"},
	{name: "committed", when: "committed"},
	{name: "committed-and-reported", when: "committed", after: "1"},
	{name: "record-half-written", when: "[ -e " + bootRecord + ".new ]", busy: true},
	{name: "after-the-end", when: "committed", after: "5"},
}

// script waits in the machine for the moment and pulls the power. b restarts at once, without a
// sync: the emulator ends instead of that.
func (p cutPoint) script() string {
	pause, after := "sleep 0.02", ""
	if p.busy {
		pause = ":"
	}
	if p.after != "" {
		after = "sleep " + p.after + "\n"
	}
	return cutFunctions + "echo waiting > /root/cut.state\nuntil " + p.when + "; do " + pause + "; done\n" + after + "echo b > /proc/sysrq-trigger\n"
}

// upgradeUncut runs a job to its end: the node has the version, and no container was touched.
func (l *leg) upgradeUncut(ctx context.Context, to string) error {
	before, err := l.running(ctx)
	if err != nil {
		return err
	}
	job, err := l.upgradeJob(ctx, to)
	if err != nil {
		return err
	}
	status, err := l.jobEnds(ctx, job)
	if err != nil {
		return err
	}
	if status.Phase != jobs.NodeSuccessful {
		return fmt.Errorf("job %s: node is %s: %s %s", job, status.Phase, status.Reason, status.Message)
	}
	if err := l.version(ctx, to); err != nil {
		return err
	}
	after, err := l.running(ctx)
	if err == nil && !slices.Equal(lines(before), lines(after)) {
		err = fmt.Errorf("containers before %v, after %v", lines(before), lines(after))
	}
	return errors.Join(err, await(ctx, podLimit, l.podsRun))
}

// cutUpgrade begins an upgrade to the version that the node does not have and pulls the power at
// a moment of it. Whatever comes of the job, the node then has one of the two versions, the
// job says which, and the pods run.
func (l *leg) cutUpgrade(ctx context.Context, at cutPoint) (err error) {
	defer func() {
		if err != nil {
			l.results.upgrades.broken = append(l.results.upgrades.broken, at.name)
		}
	}()
	from, err := l.runningVersion(ctx)
	if err != nil {
		return err
	}
	to := newVersion
	if from == newVersion {
		to = oldVersion
	}
	starts, err := l.starts(ctx)
	if err != nil {
		return err
	}
	name := l.nextJob()
	if err := sh("echo 1 > /proc/sys/kernel/sysrq; rm -f /root/cut.state; cat > /root/cut.sh <<'SCRIPT'\n"+at.script()+"SCRIPT\nsystemd-run -q --unit=cutter sh /root/cut.sh")(ctx, l); err != nil {
		return err
	}
	if err := shWait(time.Minute, "[ -e /root/cut.state ]")(ctx, l); err != nil { // it knows the job before
		return err
	}
	if err := l.applyJob(ctx, name, to); err != nil {
		return err
	}
	if err := await(ctx, 10*time.Minute, func(context.Context) error {
		if l.machine.runs() {
			return errors.New("the moment did not come")
		}
		return nil
	}); err != nil {
		return errors.Join(err, sh("systemctl stop cutter")(ctx, l))
	}
	if err := errors.Join(l.machine.cut(ctx), l.machine.boot(ctx, true)); err != nil {
		return err
	}
	l.results.upgrades.cuts++
	if err := l.nodeReady(ctx); err != nil {
		return err
	}
	status, err := l.jobEnds(ctx, name)
	if err != nil {
		return err
	}
	want := from
	if status.Phase == jobs.NodeSuccessful {
		want = to
	}
	fmt.Printf("  cut at %s: %s %s; the node has %s\n", at.name, status.Phase, status.Reason, want)
	if err := l.version(ctx, want); err != nil {
		return fmt.Errorf("job %s is %s (%s %s): %w", name, status.Phase, status.Reason, status.Message, err)
	}
	if err := await(ctx, 10*time.Minute, l.podsRun); err != nil {
		return err
	}
	now, err := l.starts(ctx)
	if err != nil {
		return err
	}
	var again []string
	for container, n := range now {
		if was, known := starts[container]; known && n > was+1 {
			again = append(again, fmt.Sprintf("%s: %d, then %d", container, was, n))
			l.results.upgrades.restarted += int(n - was - 1)
		}
	}
	if len(again) > 0 {
		err = fmt.Errorf("containers were started more often than by the cut: %v", again)
	}
	return err
}

// starts counts the restarts of each container that a pod of the node has.
func (l *leg) starts(ctx context.Context) (map[string]int32, error) {
	pods, err := l.pods(ctx)
	if err != nil {
		return nil, err
	}
	all := make(map[string]int32)
	for _, p := range pods {
		for _, s := range p.Status.ContainerStatuses {
			all[string(p.UID)+"/"+s.Name] = s.RestartCount
		}
	}
	return all, nil
}

// runningVersion is the version that the node reports, edgekit's part of it.
func (l *leg) runningVersion(ctx context.Context) (string, error) {
	var n corev1.Node
	if err := l.kube.Get(ctx, &n, "node", l.node); err != nil {
		return "", err
	}
	_, version, ok := strings.Cut(n.Status.NodeInfo.KubeletVersion, "-edgekit-")
	if !ok {
		return "", fmt.Errorf("node %s reports version %q", l.node, n.Status.NodeInfo.KubeletVersion)
	}
	return version, nil
}

// version waits until the node reports a version, and checks which program runs.
func (l *leg) version(ctx context.Context, want string) error {
	return await(ctx, podLimit, func(ctx context.Context) error {
		got, err := l.runningVersion(ctx)
		if err == nil && got != want {
			err = fmt.Errorf("node %s reports version %s, want %s", l.node, got, want)
		}
		if err != nil {
			return err
		}
		return sh(`/proc/$(systemctl show -P MainPID edgecore)/exe --version | grep -q `+want)(ctx, l)
	})
}

func (l *leg) nextJob() string {
	l.results.upgrades.jobs++
	return "vm-" + strconv.Itoa(l.results.upgrades.jobs)
}

// upgradeJob makes a job.
func (l *leg) upgradeJob(ctx context.Context, to string) (name string, err error) {
	name = l.nextJob()
	return name, l.applyJob(ctx, name, to)
}

func (l *leg) applyJob(ctx context.Context, name, to string) error {
	return l.kube.Apply(ctx, `
apiVersion: operations.kubeedge.io/v1alpha2
kind: NodeUpgradeJob
metadata: {name: `+name+`}
spec:
  version: `+to+`
  nodeNames: [`+l.node+`]
  timeoutSeconds: 1800
  artifact:
    http: http://`+l.upgradeHost()+`/`+to+`/`+artifactFile(to)+`
    signature: {keys: [release]}
  health: {timeout: 8m, stable: 15s}
`)
}

// jobEnds waits for the job's end and gives what became of the node.
func (l *leg) jobEnds(ctx context.Context, name string) (*jobs.NodeTaskStatus, error) {
	var result jobs.NodeJobResult
	err := await(ctx, 14*time.Minute, func(ctx context.Context) error {
		var job jobs.NodeUpgradeJob
		if err := l.kube.Get(ctx, &job, "nodeupgradejob", name); err != nil {
			return err
		}
		if job.Status.Phase != jobs.JobCompleted && job.Status.Phase != jobs.JobFailure {
			return fmt.Errorf("job %s is %s: %s %s", name, job.Status.Phase, job.Status.Reason, job.Status.Message)
		}
		var all jobs.NodeJobResultList
		if err := l.kube.Get(ctx, &all, "nodejobresults"); err != nil {
			return err
		}
		for _, r := range all.Items {
			if r.Spec.JobUID == string(job.UID) && r.Spec.NodeName == l.node {
				result = r
				return nil
			}
		}
		return fmt.Errorf("job %s has no result of node %s", name, l.node)
	})
	return &result.Status.NodeTaskStatus, err
}
