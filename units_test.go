package edgekit_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestUnits holds the systemd units to their sandbox. What a person's judgement
// says of them as a whole is systemd's own figure, where systemd is installed.
func TestUnits(t *testing.T) {
	for unit, want := range map[string]struct {
		has       []string // settings, with a value or with any
		not       []string
		threshold string // of "systemd-analyze security", tenths
	}{
		"cloudcore": {
			has: []string{
				"User", "NoNewPrivileges=yes", "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes", "CapabilityBoundingSet=",
				"RestrictAddressFamilies", "SystemCallFilter=@system-service", "MemoryMax", "MemoryDenyWriteExecute=yes",
				"Type=notify", "WatchdogSec", "ExecStart=/usr/bin/cloudcore",
			},
			// A crash has the same exit status as wrong settings.
			not:       []string{"RestartPreventExitStatus"},
			threshold: "20",
		},
		"edgecore": {
			has: []string{"MemoryMax", "RestrictRealtime=yes", "CapabilityBoundingSet", "KillMode=process", "Type=notify", "WatchdogSec", "ExecStart=/usr/bin/edgecore"},
			// Each of these would give it a mount namespace of its own, in which volumes
			// would be mounted for nobody.
			not: []string{
				"ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "PrivateMounts", "ProtectKernelTunables", "ProtectKernelModules",
				"ProtectKernelLogs", "ProtectControlGroups", "ProtectProc", "ProcSubset", "ReadOnlyPaths", "InaccessiblePaths", "ReadWritePaths",
				"UMask", "RestrictSUIDSGID",
				// A crash has the same exit status as wrong settings, and the next start is what
				// takes back an upgrade that crashes.
				"RestartPreventExitStatus",
			},
			threshold: "75",
		},
	} {
		t.Run(unit, func(t *testing.T) {
			file := filepath.Join("cmd", unit, unit+".service")
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(string(text), "\n")
			has := func(setting string) bool {
				return slices.ContainsFunc(lines, func(l string) bool { return l == setting || strings.HasPrefix(l, setting+"=") })
			}
			for _, s := range want.has {
				if !has(s) {
					t.Errorf("%s is not set", s)
				}
			}
			for _, s := range want.not {
				if has(s) {
					t.Errorf("%s is set", s)
				}
			}
			analyze, err := exec.LookPath("systemd-analyze")
			if err != nil {
				t.Skip("systemd-analyze is not installed")
			}
			out, err := exec.Command(analyze, "security", "--no-pager", "--offline=true", "--threshold="+want.threshold, file).CombinedOutput()
			if err != nil {
				t.Errorf("%v: %s", err, out)
			}
			// The programs are not installed here; all else must be understood.
			out, _ = exec.Command(analyze, "verify", "--man=no", file).CombinedOutput()
			for line := range strings.Lines(string(out)) {
				if strings.Contains(line, unit+".service") && !strings.Contains(line, "is not executable") {
					t.Error(line)
				}
			}
		})
	}
}
