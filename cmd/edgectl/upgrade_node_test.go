package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

// TestJobCommands upgrades, rolls back, confirms and refuses on a node whose edgecore answers,
// and does not answer for a while.
func TestJobCommands(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "node.tar")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	var asked []string
	polls := 0
	version, phase := "v1.2.3", "Successful"
	serveAPI(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == jobsPath+"/jobs" {
			switch polls++; polls {
			case 1:
				_, _ = io.WriteString(w, `{"items":[{"uid":"u-1","phase":"InProgress","actions":["Check True","Upgrade Unknown"]}],"upgrade":{"Version":"`+version+`"}}`)
			case 2:
				http.Error(w, "edgecore starts", http.StatusServiceUnavailable)
			case 3:
				_, _ = io.WriteString(w, `{"items":[],"starting":true,"upgrade":{"Version":"`+version+`"}}`)
			default:
				version = "v1.3.0"
				_, _ = io.WriteString(w, `{"items":[{"uid":"u-1","phase":"`+phase+`","reason":"Unhealthy","message":"pods are not ready","log":"panic: x","actions":["Check True","Upgrade True"]}],"upgrade":{"Version":"`+version+`"}}`)
			}
			return
		}
		body, _ := io.ReadAll(r.Body) // what is missing shows below
		asked = append(asked, r.Method+" "+strings.TrimPrefix(r.URL.Path, jobsPath)+" "+string(body))
		if strings.Contains(string(body), "other") {
			http.Error(w, "jobs: there is no such job", http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, `{"kind":"NodeUpgradeJob","name":"nightly","uid":"u-1","phase":"Pending","from":"v1.2.3","version":"v1.3.0"}`)
	})
	local := localFlags{DataDir: "."}
	var out strings.Builder
	to := program.Output{Writer: &out}
	run := func(what string, err error, wantErr, printed string, request string) {
		t.Helper()
		if (err == nil) != (wantErr == "") || err != nil && !strings.Contains(err.Error(), wantErr) {
			t.Errorf("%s: %v", what, err)
		}
		if !strings.Contains(out.String(), printed) || strings.Join(asked, ",") != request {
			t.Errorf("%s: printed %q, asked %q", what, out.String(), asked)
		}
		out.Reset()
		asked, polls, version = nil, 0, "v1.2.3"
	}
	up := func(from string) *upgradeNodeCmd {
		return &upgradeNodeCmd{localFlags: local, From: from, Timeout: 5 * time.Minute, Stable: time.Minute}
	}
	gate := `,"timeout":300000000000,"stable":60000000000}`
	run("upgrade", up(file).Run(t.Context(), to), "", "nightly began\nCheck True\nUpgrade True\nSuccessful\n", `POST /upgrade {"file":"`+file+`"`+gate)
	phase = "RolledBack"
	run("rolled back", up("https://host/node.tar").Run(t.Context(), to), "RolledBack (Unhealthy): pods are not ready", "panic: x", `POST /upgrade {"http":"https://host/node.tar"`+gate)
	quick := up("registry.example/node:v1.3.0")
	quick.NoWait, quick.Digest = true, "sha256:1"
	run("no wait", quick.Run(t.Context(), to), "", "nightly began\n", `POST /upgrade {"oci":"registry.example/node:v1.3.0","digest":"sha256:1"`+gate)
	run("no file", up("/nowhere/node.tar").Run(t.Context(), to), "no such file", "", "")
	short := up(file)
	short.Timeout = time.Second
	run("gate", short.Run(t.Context(), to), "longer than --timeout", "", "")
	run("rollback", (&rollbackCmd{localFlags: local, To: "v1.3.0"}).Run(t.Context(), to), "", "goes back from v1.2.3 to v1.3.0\nv1.3.0 runs\n", `POST /rollback {"to":"v1.3.0"}`)
	run("confirm", (&confirmCmd{localFlags: local}).Run(t.Context(), to), "", "NodeUpgradeJob nightly is confirmed\n", "POST /confirm-upgrade ")
	run("confirm another", (&confirmCmd{localFlags: local, Job: "other"}).Run(t.Context(), to), "no such job", "", "POST /confirm-upgrade other")
	run("refuse", (&refuseCmd{localFlags: local, Job: "nightly", Reason: "the arm moves"}).Run(t.Context(), to), "", "is refused\n", `POST /refuse-upgrade {"job":"nightly","reason":"the arm moves"}`)
}
