package packages

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/cmd/release/programs"
)

// machine is this machine's own Debian with what is written to it in memory: tests install
// packages there.
type machine struct {
	t    *testing.T
	dirs []string // seen in the machine as /debs0, /debs1, ...
}

// enter makes a fresh machine in the folder PLACE. A systemctl that writes what it is asked for to
// /systemctl.log stands in for systemd.
const enter = `set -e
mount -t tmpfs -o size=512m tmpfs "$PLACE"
mkdir "$PLACE/upper" "$PLACE/work" "$PLACE/root"
mount -t overlay -o lowerdir=/,upperdir="$PLACE/upper",workdir="$PLACE/work" overlay "$PLACE/root"
cd "$PLACE/root"
mount -t proc proc proc
mount --bind /dev dev
mount -t tmpfs tmpfs run
mkdir -p run/systemd/system
rm -rf var/lib/edgekit etc/edgekit usr/bin/keadm
printf '#!/bin/sh\necho "$*" >> /systemctl.log\n' > usr/bin/systemctl.new
chmod 755 usr/bin/systemctl.new
mv usr/bin/systemctl.new usr/bin/systemctl
`

// run runs a script in a fresh machine and returns what it prints.
func (m machine) run(script string) string {
	m.t.Helper()
	var outside strings.Builder
	outside.WriteString(enter)
	for i, dir := range m.dirs {
		name := "debs" + string(rune('0'+i))
		outside.WriteString("mkdir " + name + "\ncp '" + dir + "'/*_amd64.deb '" + dir + "'/*_all.deb '" + dir + "'/*.rpm " + name + "/\n")
	}
	outside.WriteString("cat > script.sh\nexec chroot . sh -e script.sh\n")
	out, err := inNamespaces(m.t, outside.String(), script)
	if err != nil {
		m.t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// inNamespaces runs a script, which mounts what it likes, without a network.
func inNamespaces(t *testing.T, script, stdin string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "--pid", "--fork", "--net", "sh", "-c", script)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "PLACE=" + t.TempDir(), "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// newMachine skips the test where there can be no machine: a container may not be allowed to
// mount, or may have its packages' records elsewhere.
func newMachine(t *testing.T, dirs ...string) machine {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	for _, program := range []string{"apt-get", "dpkg-query", "unshare", "chroot"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("needs " + program)
		}
	}
	if out, err := inNamespaces(t, enter+"exec chroot . dpkg-query -W dpkg\n", ""); err != nil {
		t.Skipf("this machine cannot be copied by an overlay mount in its own namespaces: %v: %s", err, out)
	}
	return machine{t, dirs}
}

// TestDebian: apt installs, upgrades, removes and purges the packages without a network. No service
// is started; settings and identity stay as long as they should.
func TestDebian(t *testing.T) {
	amd64 := programs.Platforms()[0]
	m := newMachine(t, build(t, amd64, "v0.1.0"), build(t, amd64, "v0.2.0"))
	out := m.run(`
install="apt-get install -y -q --no-install-recommends -o Dpkg::Options::=--no-triggers"
dpkg="dpkg --no-triggers"
check() { echo "CHECK $*"; "$@" || { echo "FAILED: $*"; exit 1; }; }
$install /debs0/edgekit-edgectl_*.deb
check test "$(edgectl)" = "edgectl v0.1.0"
$install /debs0/edgekit-edgecore_*.deb
check test "$(edgecore)" = "edgecore v0.1.0"
check test -z "$(dpkg-query -W -f '${db:Status-Status}' edgekit-edgectl | grep -x installed)"
check test "$(cat /systemctl.log)" = "daemon-reload
try-restart edgecore.service"
check test "$(stat -c '%a %U' /etc/edgekit/edgecore.yaml)" = "644 root"
# The program that join wrote, and the user's settings.
mkdir -p /var/lib/edgekit/identity /var/lib/edgekit/meta /var/lib/edgekit/pods/1/volumes
echo key > /var/lib/edgekit/meta.key; echo key > /var/lib/edgekit/meta.key.next # a rotation that the power cut
echo key > /var/lib/edgekit/identity/key; echo data > /var/lib/edgekit/pods/1/volumes/file
echo "memory-limit: 48Mi" >> /etc/edgekit/edgecore.yaml
$dpkg -i /debs1/edgekit-edgecore_*.deb
check test "$(edgecore)" = "edgecore v0.2.0"
check grep -q memory-limit /etc/edgekit/edgecore.yaml
check test "$(tail -1 /systemctl.log)" = "try-restart edgecore.service"
$dpkg -i /debs0/edgekit-edgecore_*.deb
check test "$(edgecore)" = "edgecore v0.1.0"
check grep -q memory-limit /etc/edgekit/edgecore.yaml
$dpkg -r edgekit-edgecore
check grep -q "disable --now edgecore.service" /systemctl.log
check test -e /var/lib/edgekit/identity/key
check grep -q memory-limit /etc/edgekit/edgecore.yaml
$dpkg -P edgekit-edgecore
check test ! -e /var/lib/edgekit/identity
check test "$(ls /var/lib/edgekit)" = pods
check test ! -e /etc/edgekit
check test -e /var/lib/edgekit/pods/1/volumes/file
$dpkg -i /debs0/edgekit-cloudcore_*.deb
check getent passwd edgekit
check test "$(cloudcore)" = "cloudcore v0.1.0"
check test -z "$(grep -E '(^| )(start|enable|restart) ' /systemctl.log)"
# A keadm of somebody else stays.
echo real > /usr/bin/keadm
$dpkg -i /debs0/edgekit-edgectl_*.deb
if $dpkg -i /debs0/edgekit-keadm_*.deb; then echo "FAILED: keadm was overwritten"; exit 1; fi
check test "$(cat /usr/bin/keadm)" = real
rm /usr/bin/keadm
$dpkg -i /debs0/edgekit-keadm_*.deb
check test "$(keadm)" = "edgectl v0.1.0"
check dpkg --audit
echo DONE
`)
	if !strings.HasSuffix(strings.TrimSpace(out), "DONE") {
		t.Error(out)
	}
}

// TestRPMInstall: rpm installs, upgrades and removes the package with the same care.
func TestRPMInstall(t *testing.T) {
	if _, err := exec.LookPath("rpm"); err != nil {
		t.Skip("needs rpm")
	}
	amd64 := programs.Platforms()[0]
	m := newMachine(t, build(t, amd64, "v0.1.0"), build(t, amd64, "v0.2.0"))
	out := m.run(`
check() { echo "CHECK $*"; "$@" || { echo "FAILED: $*"; exit 1; }; }
rpm="rpm --force-debian --nodeps --dbpath /rpmdb"
$rpm -i /debs0/edgekit-edgecore-*.rpm
check test "$(edgecore)" = "edgecore v0.1.0"
mkdir -p /var/lib/edgekit/identity; echo key > /var/lib/edgekit/identity/key
echo "memory-limit: 48Mi" >> /etc/edgekit/edgecore.yaml
$rpm -U /debs1/edgekit-edgecore-*.rpm
check test "$(edgecore)" = "edgecore v0.2.0"
check grep -q memory-limit /etc/edgekit/edgecore.yaml
check test -z "$(grep -E '(^| )(start|enable|restart|disable) ' /systemctl.log)"
rpm --force-debian --dbpath /rpmdb -e edgekit-edgecore
check test -e /var/lib/edgekit/identity/key
check test ! -e /usr/bin/edgecore
check grep -q "disable --now edgecore.service" /systemctl.log
$rpm -i /debs0/edgekit-cloudcore-*.rpm
check getent passwd edgekit
echo real > /usr/bin/keadm
if $rpm -i /debs0/edgekit-keadm-*.rpm; then echo "FAILED: keadm was overwritten"; exit 1; fi
check test "$(cat /usr/bin/keadm)" = real
echo DONE
`)
	if !strings.HasSuffix(strings.TrimSpace(out), "DONE") {
		t.Error(out)
	}
}
