package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const cloudcoreYAML = `printf 'kubeconfig: /etc/edgekit/kubeconfig\nadvertise: [127.0.0.1:10000]\n' > /etc/edgekit/cloudcore.yaml
`

// cloudcoreSteps run cloudcore in the machine, as its unit's header says, and stop it again:
// the node's cloudcore is on the host.
func cloudcoreSteps() []step {
	return []step{
		{name: "cloudcore-without-an-api-server", run: func(ctx context.Context, l *leg) error {
			if err := l.cloudcoreKubeconfig(ctx, "https://127.0.0.1:1"); err != nil {
				return err
			}
			return shWait(5*time.Minute, `[ "$(systemctl show -P NRestarts cloudcore)" -ge 3 ]`)(ctx, l)
		}},
		{name: "cloudcore-says-why", run: sh(`journalctl -q -o cat -u cloudcore | grep -q "^cloudcore: API server https://127.0.0.1:1: .*check that it runs"`)},
		{name: "cloudcore-with-wrong-settings-is-not-restarted", run: func(ctx context.Context, l *leg) error {
			if err := sh(`printf 'kubeconfig: wrong\n' > /etc/edgekit/cloudcore.yaml; systemctl restart --no-block cloudcore`)(ctx, l); err != nil {
				return err
			}
			return shWait(2*time.Minute, `[ "$(systemctl show -P ActiveState cloudcore)/$(systemctl show -P ExecMainStatus cloudcore)" = failed/2 ]`)(ctx, l)
		}},
		{name: "cloudcore-ready", run: func(ctx context.Context, l *leg) error {
			if err := l.cloudcoreKubeconfig(ctx, ""); err != nil {
				return err
			}
			return shWait(5*time.Minute, `journalctl -q -o cat -u cloudcore | grep -q "cloudcore is ready"`)(ctx, l)
		}},
		{name: "cloudcore-is-not-root", run: sh(`[ "$(stat -c %U /proc/$(systemctl show -P MainPID cloudcore))" = edgekit ]`)},
		{name: "cloudcore-stops", run: sh(`systemctl disable -q --now cloudcore; [ "$(systemctl show -P ActiveState cloudcore)/$(systemctl show -P Result cloudcore)" = inactive/success ]`)},
	}
}

// cloudcoreKubeconfig starts cloudcore with the API server given, or with the cluster's.
func (l *leg) cloudcoreKubeconfig(ctx context.Context, server string) error {
	b, err := os.ReadFile(filepath.Join(l.site.Dir(), "cloudcore.kubeconfig"))
	if err != nil {
		return err
	}
	var text strings.Builder
	for line := range strings.Lines(string(b)) {
		if at := strings.Index(line, "server: https://127.0.0.1:"); at >= 0 {
			url := server
			if url == "" {
				url = strings.Replace(strings.TrimSpace(line[at+len("server: "):]), "127.0.0.1", hostIP, 1)
			}
			line = line[:at] + "server: " + url + "\n" + line[:at] + "tls-server-name: 127.0.0.1\n"
		}
		text.WriteString(line)
	}
	return sh(cloudcoreYAML+`id -u edgekit >/dev/null 2>&1 || useradd --system --home-dir /nonexistent --shell /usr/sbin/nologin edgekit
cat > /root/kubeconfig <<'KUBECONFIG'
`+text.String()+`
KUBECONFIG
install -o root -g edgekit -m 0640 /root/kubeconfig /etc/edgekit/kubeconfig
systemctl enable -q cloudcore; systemctl reset-failed cloudcore 2>/dev/null; systemctl restart --no-block cloudcore`)(ctx, l)
}
