package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	machineIP = "10.0.2.15"
	hostIP    = "10.0.2.2" // the host's loopback, seen from the machine
)

// setupSteps boot the machine and install everything from single files.
func setupSteps() []step {
	return append(bootSteps(), []step{
		{name: "install", run: sh(`
			install -m755 -t /usr/bin /root/kit/cloudcore /root/kit/edgecore /root/kit/edgectl
			install -D -m644 -t /etc/systemd/system /root/kit/*.service
			install -d /etc/edgekit && systemctl daemon-reload`), must: true},
		{name: "units-verify", run: sh(`out=$(systemd-analyze verify /etc/systemd/system/edgecore.service /etc/systemd/system/cloudcore.service 2>&1)
			[ -z "$out" ] || { echo "$out"; exit 1; }`)},
	}...)
}

// bootSteps boot the machine and set its container runtime up.
func bootSteps() []step {
	return []step{
		{name: "boot", run: func(ctx context.Context, l *leg) error { return l.machine.boot(ctx, true) }, must: true},
		{name: "systemd-and-cgroup-v2", run: sh(`[ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] && [ "$(cat /proc/1/comm)" = systemd ]`)},
		{name: "containerd", run: func(ctx context.Context, l *leg) error {
			if _, err := l.machine.run(ctx, l.containerdScript()); err != nil {
				return err
			}
			return shWait(3*time.Minute, `ctr --version | grep -q "`+map[string]string{"1.6": " 1\\.6\\.", "2": " v\\?2\\."}[l.containerd]+`" && ctr -n k8s.io version >/dev/null`)(ctx, l)
		}, must: true},
		{name: "images", run: sh(`ctr -n k8s.io images import /root/kit/images.tar >/dev/null`), must: true},
	}
}

// containerdScript configures containerd with the driver, and installs the newer one.
func (l *leg) containerdScript() string {
	systemd := "false"
	if l.driver == "systemd" {
		systemd = "true"
	}
	script := `mkdir -p /etc/cni/net.d /etc/containerd
cat > /etc/cni/net.d/10-vm.conflist <<'CNI'
{"cniVersion": "1.0.0", "name": "vm", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
CNI
`
	if l.containerd == "1.6" {
		return script + `cat > /etc/containerd/config.toml <<'TOML'
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "` + pauseImage + `"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = ` + systemd + `
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc2]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc2.options]
  SystemdCgroup = ` + systemd + `
TOML
systemctl enable -q containerd && systemctl restart containerd`
	}
	return script + `cat > /etc/containerd/config.toml <<'TOML'
version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "` + pauseImage + `"
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["/usr/lib/cni"]
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  SystemdCgroup = ` + systemd + `
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc2]
  runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc2.options]
  SystemdCgroup = ` + systemd + `
TOML
systemctl stop containerd
install -m755 -t /usr/local/bin /root/kit/containerd /root/kit/containerd-shim-runc-v2 /root/kit/ctr
sed 's|/usr/bin/containerd|/usr/local/bin/containerd|' /lib/systemd/system/containerd.service > /etc/systemd/system/containerd.service
systemctl daemon-reload && systemctl enable -q containerd && systemctl restart containerd`
}

// stockSteps run the tests that need a machine with systemd and a container runtime.
func stockSteps() []step {
	env := func(l *leg) string {
		return "cd /root && EDGEKIT_CRI_SOCKET=/run/containerd/containerd.sock EDGEKIT_CRI_CGROUP_DRIVER=" + l.driver + " "
	}
	test := func(program, pattern string) func(context.Context, *leg) error {
		return func(ctx context.Context, l *leg) error {
			out, err := l.machine.run(ctx, env(l)+"/root/kit/"+program+" -test.v -test.timeout 14m -test.run '"+pattern+"'")
			if err == nil && !strings.Contains(out, "--- PASS") {
				err = errors.New("no test ran: " + end(out, 300))
			}
			return err
		}
	}
	return []step{
		{name: "tests-cgroup", run: test("cgroup.test", "TestReal|TestTearDownOfABusyGroup")},
		{name: "TestRealCgroupDriver", run: test("edged.test", "^TestRealCgroupDriver$")},
		{name: "TestRealWrongCgroupDriver", run: test("edged.test", "^TestRealWrongCgroupDriver$")},
		{name: "TestRealResize", run: test("edged.test", "^TestRealResize$")},
		{name: "TestRealNodeCgroups", run: test("edged.test", "^TestRealNodeCgroups$")},
	}
}

// nodeSteps join the node, first with the wrong cgroup driver.
func nodeSteps() []step {
	return []step{
		{name: "join", run: func(ctx context.Context, l *leg) error { return l.join(ctx) }, must: true},
		{name: "wrong-cgroup-driver", run: func(ctx context.Context, l *leg) error { return l.wrongDriver(ctx) }},
		{name: "node-ready", run: func(ctx context.Context, l *leg) error {
			if err := l.configure(ctx, ""); err != nil {
				return err
			}
			return l.nodeReady(ctx)
		}, must: true},
		{name: "not-given-up-by-systemd", run: sh(`[ "$(systemctl show -P ActiveState edgecore)/$(systemctl show -P SubState edgecore)" = active/running ]`)},
		{name: "mount-namespace-of-the-machine", run: sh(`[ "$(readlink /proc/1/ns/mnt)" = "$(readlink /proc/$(systemctl show -P MainPID edgecore)/ns/mnt)" ]`)},
		{name: "key-of-the-store", run: func(ctx context.Context, l *leg) error {
			script := "test -s /var/lib/edgekit/meta.key"
			if l.driver == "cgroupfs" { // the key is a systemd credential: see join
				script = "test ! -e /var/lib/edgekit/meta.key"
			}
			return sh(script)(ctx, l)
		}},
	}
}

// join gives the machine its identity and enables the unit.
func (l *leg) join(ctx context.Context) error {
	token, err := l.site.Token(ctx, l.node)
	if err != nil {
		return err
	}
	if l.driver == "cgroupfs" { // the unit's second way to keep the store's key
		if err := sh(`od -An -tx1 -N32 /dev/urandom | tr -d ' \n' | systemd-creds encrypt --name=edgekit-store-key - /etc/edgekit/store-key.cred
			sed -i 's|^#LoadCredentialEncrypted=|LoadCredentialEncrypted=|' /etc/systemd/system/edgecore.service && systemctl daemon-reload`)(ctx, l); err != nil {
			return err
		}
	}
	_, err = l.machine.run(ctx, "umask 077; echo '"+token+"' > /root/token; edgecore join --cloud "+l.site.CloudAddress()+" --node "+l.node+
		" --token-file /root/token && systemctl enable -q edgecore")
	return err
}

// configure writes edgecore's configuration, with further settings, and restarts it.
func (l *leg) configure(ctx context.Context, more string) error {
	_, err := l.machine.run(ctx, `cat > /etc/edgekit/edgecore.yaml <<'YAML'
node-labels: {vm: "`+l.String()+`"}
eviction-hard: memory.available<400Mi,nodefs.available<10%
eviction-pressure-transition-period: 20s
container-log-max-size: 100Ki
container-log-max-files: 3
container-log-monitor-interval: 3s
cluster-dns: [`+machineIP+`]
local-api-listen: `+machineIP+`:6443
local-api-services: true
plugin-registry-dir: /var/lib/kubelet/plugins_registry
`+more+`
YAML
systemctl restart edgecore`)
	return err
}

// nodeReady waits for a node that is Ready in this boot of the machine.
func (l *leg) nodeReady(ctx context.Context) error {
	boot, err := l.machine.run(ctx, "cat /proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	return await(ctx, 10*time.Minute, func(ctx context.Context) error {
		var n corev1.Node
		if err := l.kube.Get(ctx, &n, "node", l.node); err != nil {
			return err
		}
		if got := n.Status.NodeInfo.BootID; got != strings.TrimSpace(boot) {
			return fmt.Errorf("node %s has boot id %s, the machine %s", l.node, got, boot)
		}
		return l.condition(&n, corev1.NodeReady, corev1.ConditionTrue)
	})
}

// condition checks one condition of the node.
func (l *leg) condition(n *corev1.Node, kind corev1.NodeConditionType, want corev1.ConditionStatus) error {
	for _, c := range n.Status.Conditions {
		if c.Type == kind {
			if c.Status == want {
				return nil
			}
			return fmt.Errorf("node %s: %s is %s: %s %s", l.node, kind, c.Status, c.Reason, c.Message)
		}
	}
	return fmt.Errorf("node %s has no condition %s", l.node, kind)
}

// wrongDriver runs edgecore with the other driver: an event says what to do, in one line.
func (l *leg) wrongDriver(ctx context.Context) error {
	wrong, reason := "cgroupfs", "FailedCreatePodSandBox"
	if l.driver == "cgroupfs" {
		wrong, reason = "systemd", "WrongCgroupDriver"
	}
	if err := l.configure(ctx, "cgroup-driver: "+wrong); err != nil {
		return err
	}
	if err := l.nodeReady(ctx); err != nil {
		return err
	}
	if err := l.apply(ctx, wrongPod); err != nil {
		return err
	}
	remedy := "--cgroup-driver " + l.driver
	said := await(ctx, 5*time.Minute, func(ctx context.Context) error {
		var events corev1.EventList
		if err := l.kube.Get(ctx, &events, "events", "-A"); err != nil {
			return err
		}
		var seen []string
		for _, e := range events.Items {
			mine := e.InvolvedObject.Name == l.node || e.InvolvedObject.Namespace == namespace
			if mine && e.Reason == reason && strings.Contains(e.Message, remedy) {
				if strings.Contains(e.Message, "\n") {
					return fmt.Errorf("the event has more than one line: %q", e.Message)
				}
				return nil
			}
			if mine {
				seen = append(seen, e.Reason+": "+e.Message)
			}
		}
		return fmt.Errorf("no event %s names %q: %s", reason, remedy, end(strings.Join(seen, "; "), 600))
	})
	_, err := l.kube.Run(ctx, "", "delete", "pod", "wrong", "-n", namespace, "--timeout=300s")
	return errors.Join(said, err)
}
