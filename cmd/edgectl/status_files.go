package main

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/edgekit/edgekit/cmd/edgectl/internal/printer"
	"github.com/edgekit/edgekit/cmd/internal/nodestate"
)

// unit is the name of edgecore's service.
const unit = "edgecore.service"

// hostRoot is where the files of the operating system are; root is "/" but in tests.
type hostRoot struct{ root string }

func thisHost() hostRoot { return hostRoot{"/"} }

func (m hostRoot) path(name string) string { return filepath.Join(m.root, name) }

func (m hostRoot) exists(name string) bool {
	_, err := os.Lstat(m.path(name)) // a unit's link may lead out of a test's root
	return err == nil
}

// service is what systemd's files and cgroups say of edgecore's service.
type service struct {
	Unit    string `json:"unit"`
	State   string `json:"state"`   // active, inactive, not installed, or unknown without systemd
	Enabled bool   `json:"enabled"` // starts with the machine
	PIDs    int    `json:"pids,omitempty"`
}

// service reads them. systemd itself is not asked, so that this works for everybody.
func (m hostRoot) service() service {
	s := service{Unit: unit, State: "unknown"}
	if !m.exists("run/systemd/system") {
		return s
	}
	s.State = "not installed"
	for _, dir := range []string{"etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system", "run/systemd/system"} {
		if m.exists(filepath.Join(dir, unit)) {
			s.State = "inactive"
		}
		s.Enabled = s.Enabled || m.exists(filepath.Join(dir, "multi-user.target.wants", unit))
	}
	for _, dir := range []string{"sys/fs/cgroup/system.slice", "sys/fs/cgroup/systemd/system.slice"} { // cgroup v2 and v1
		text, err := os.ReadFile(m.path(filepath.Join(dir, unit, "cgroup.procs")))
		if pids := len(strings.Fields(string(text))); err == nil && pids > 0 {
			s.State, s.PIDs = "active", pids
		}
	}
	return s
}

func (s service) detail() string {
	switch {
	case s.State == "unknown":
		return "this machine has no systemd"
	case s.Enabled:
		return s.Unit + ", starts with the machine"
	}
	return s.Unit + ", does not start with the machine"
}

// nodeFiles is what the files of a node say that does not run. Keys are not among it.
type nodeFiles struct {
	Joined      bool             `json:"joined"`
	Node        string           `json:"node,omitempty"`
	Certificate time.Time        `json:"certificateEnds,omitzero"`
	Cloud       string           `json:"cloud,omitempty"`
	Proved      time.Time        `json:"clockProved,omitzero"` // the latest time that is proved to have passed
	StoreBytes  int64            `json:"storeBytes"`
	Disks       []nodestate.Disk `json:"disks"`
}

// readNodeFiles reads the public part of the data folder.
func readNodeFiles(data string, now time.Time) *nodeFiles {
	f := readPublicFiles(data)
	if leaf := leafOf(filepath.Join(data, "identity", "identity.pem")); leaf != nil {
		f.Joined, f.Node, f.Certificate = true, strings.TrimPrefix(leaf.Subject.CommonName, "system:node:"), leaf.NotAfter
	}
	return f
}

// readPublicFiles reads only files that hold no secret.
func readPublicFiles(data string) *nodeFiles {
	f := &nodeFiles{StoreBytes: folderSize(filepath.Join(data, "meta")), Disks: []nodestate.Disk{}}
	var at struct {
		Cloud string `json:"cloud"`
	}
	if text, err := os.ReadFile(filepath.Join(data, "identity", "cloud.json")); err == nil && json.Unmarshal(text, &at) == nil {
		f.Cloud = at.Cloud
	}
	if text, err := os.ReadFile(filepath.Join(data, "identity", "clock")); err == nil {
		f.Proved, _ = time.Parse(time.RFC3339, strings.TrimSpace(string(text))) // a damaged file counts as none
	}
	if d, ok := nodestate.DiskOf(data); ok {
		f.Disks = append(f.Disks, d)
	}
	return f
}

// leafOf is the first certificate in a PEM file; nil if there is none. The key beside it is skipped.
func leafOf(name string) *x509.Certificate {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			return c
		}
	}
	return nil
}

// fileItems are the lines of what the files say.
func (l *localStatus) fileItems() []item {
	f, now := l.Files, l.Time
	edgecore := item{name: "edgecore", state: "stopped", level: printer.LevelError}
	switch {
	case l.Running:
		edgecore = item{name: "edgecore", state: "running", detail: "older than this edgectl", level: printer.LevelWarning}
	case l.Service.State == "active":
		edgecore.state = "not answering"
	}
	items := []item{edgecore}
	if !f.Joined {
		return append(items, item{name: "node", state: "not joined"})
	}
	items = append(items, item{name: "node", state: f.Node, detail: "cloud " + f.Cloud})
	certificate := item{name: "certificate", state: "valid", detail: "ends " + printer.Age(f.Certificate, now)}
	if f.Certificate.Before(now) {
		certificate.state, certificate.detail = "expired", printer.Age(f.Certificate, now)+" ago"
	}
	items = append(items, certificate, item{name: "store", state: "unknown", detail: size(f.StoreBytes)})
	if f.behind(now) {
		items = append(items, item{name: "clock", state: "wrong", detail: fmt.Sprintf("it says %s, and %s has passed", now.Format(time.RFC3339), f.Proved.Format(time.RFC3339)), level: printer.LevelError})
	}
	for _, d := range f.Disks {
		items = append(items, diskItem(d))
	}
	return items
}

func (f *nodeFiles) behind(now time.Time) bool { return f.Proved.Sub(now) > time.Minute }
