package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/edgekit/edgekit/cmd/edgectl/internal/printer"
	"github.com/edgekit/edgekit/cmd/internal/nodestate"
	"github.com/edgekit/edgekit/edged/jobs"
)

// localStatus is the state of the node on this machine. Its JSON is stable.
type localStatus struct {
	Kind    string            `json:"kind"` // LocalStatus
	Time    time.Time         `json:"time"`
	Running bool              `json:"running"`           // edgecore answers
	Service service           `json:"service"`           // what systemd's files say
	Node    *nodestate.Status `json:"node,omitempty"`    // what edgecore says; absent while it does not answer, or is too old
	Files   *nodeFiles        `json:"files,omitempty"`   // what its files say; absent if there is Node
	Jobs    []jobs.Status     `json:"jobs,omitempty"`    // fleet jobs and upgrades of the node that have not ended
	Unknown []string          `json:"unknown,omitempty"` // what could not be read, and why
	// Problems are what to look at, the worst first.
	Problems []problem `json:"problems"`
}

func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// readLocal asks the node on this machine, or reads its files if it does not answer.
func (s *statusCmd) readLocal(ctx context.Context, m hostRoot, now time.Time) (*localStatus, error) {
	out := &localStatus{Kind: "LocalStatus", Time: now, Service: m.service()}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(s.answer, nodeAnswer))
	defer cancel()
	var state nodestate.Status
	err := s.sockets("").read(ctx, "kubelet.sock", nodestate.Path, "", &state)
	switch {
	case err == nil:
		out.Running, out.Node = true, &state
		s.readJobs(ctx, out)
	case isMissing(err):
		out.Running, out.Files = true, readNodeFiles(s.DataDir, now)
		out.Unknown = append(out.Unknown, "link, pods, devices, MQTT: the edgecore that runs is older than this edgectl, and has no status; what follows is from files")
		s.readJobs(ctx, out)
	case errors.Is(err, fs.ErrPermission):
		return nil, err
	case isNotThere(err):
		out.Files = readNodeFiles(s.DataDir, now)
		out.Unknown = append(out.Unknown, "link, pods, devices, MQTT: edgecore does not run, and keeps them in its store; what follows is from files")
	default:
		out.Files = readNodeFiles(s.DataDir, now)
		out.Unknown = append(out.Unknown, "link, pods, devices, MQTT: edgecore does not answer: "+err.Error())
	}
	out.Problems = s.localProblems(out)
	sortProblems(out.Problems)
	return out, nil
}

// readJobs asks for the jobs that have not ended. A node that is too old for jobs has none.
func (s *statusCmd) readJobs(ctx context.Context, out *localStatus) {
	var list jobs.List
	err := s.sockets("").read(ctx, "api.sock", jobsPath+"/jobs", "", &list)
	if err != nil && !isMissing(err) {
		out.Unknown = append(out.Unknown, "jobs: "+err.Error())
		return
	}
	out.Jobs = slices.DeleteFunc(list.Items, jobs.Status.Finished)
}

// jobItems are the lines of jobs.
func jobItems(all []jobs.Status, now time.Time) []item {
	var items []item
	for _, j := range all {
		line := item{name: "job", state: j.Phase, detail: strings.TrimSpace(fmt.Sprintf("%s %s %s %s", j.Kind, j.Name, j.Reason, j.Message))}
		if j.WaitingSince != nil {
			line.level = printer.LevelWarning
			line.detail += ", for " + printer.Age(*j.WaitingSince, now)
		}
		items = append(items, line)
	}
	return items
}

// item is a line of the local status.
type item struct {
	name, state, detail string
	level               printer.Level
}

func (s *statusCmd) printLocal(out io.Writer, l *localStatus) error {
	if s.Output != printer.FormatTable && s.Output != printer.FormatWide {
		t := problemsTable(l.Problems, 0, l.Time)
		return s.Print(out, t, l)
	}
	if err := printProblems(out, s.Flags, l.Problems, s.Limit, l.Time); err != nil {
		return err
	}
	fmt.Fprintln(out)
	items := []item{{name: "service", state: l.Service.State, detail: l.Service.detail()}}
	if l.Node != nil {
		items = append(items, nodeItems(l.Node, l.Time)...)
	} else {
		items = append(items, l.fileItems()...)
	}
	items = append(items, jobItems(l.Jobs, l.Time)...)
	if err := printItems(out, items, l.Time); err != nil {
		return err
	}
	if l.Node != nil && len(l.Node.Errors) > 0 {
		fmt.Fprintln(out, "\nLast warnings and errors of edgecore (all: edgectl debug bundle):")
		last := l.Node.Errors[max(len(l.Node.Errors)-5, 0):]
		lines := printer.Table{Columns: []printer.Column{{Name: "LINE"}}}
		for _, line := range last {
			lines.Rows = append(lines.Rows, printer.Row{Cells: []any{line}})
		}
		if err := (printer.Flags{NoHeaders: true}).Print(out, lines, nil); err != nil {
			return err
		}
	}
	return printUnknown(out, l.Unknown)
}

// nodeItems are the lines of a node's status document.
func nodeItems(n *nodestate.Status, now time.Time) []item {
	age := func(t time.Time) string { return printer.Age(t, now) }
	program := item{name: "edgecore", state: "running", detail: fmt.Sprintf("%s (Kubernetes %s), slot %s, for %s, pid %d", n.Program.Version, n.Program.Kubernetes, n.Program.Slot, age(n.Program.Started), n.Program.PID)}
	items := []item{{name: "node", state: n.Node}, program, linkItem(n, now)}
	store := item{name: "store", state: "ok", detail: fmt.Sprintf("%s, %s, %d events wait for the cloud%s", size(n.Store.Bytes), encrypted(n.Store.Encrypted), n.Store.EventsWaiting, queued(n.Store.StateQueued))}
	if n.Store.Failure != "" {
		store.state, store.detail, store.level = "unwritable", n.Store.Failure+"; "+store.detail, printer.LevelError
	}
	runtime := item{name: "runtime", state: "ready", detail: strings.TrimSpace(n.Runtime.Name + " " + n.Runtime.Version + " " + n.Runtime.Endpoint)}
	if !n.Runtime.Ready {
		runtime.state, runtime.detail, runtime.level = "not ready", n.Runtime.Endpoint+": "+n.Runtime.Message, printer.LevelError
	}
	pods := item{name: "pods", state: fmt.Sprintf("%d/%d ready", n.Pods.Ready, n.Pods.Total-n.Pods.Finished), detail: podNames(n.Pods)}
	devices := item{name: "devices", state: fmt.Sprint(n.Devices.Total), detail: deviceStates(n.Devices)}
	certificate := item{name: "certificate", state: "valid", detail: "ends " + age(n.Certificate.Ends)}
	if n.Certificate.Ends.Before(now) {
		certificate = item{name: "certificate", state: "expired", detail: age(n.Certificate.Ends) + " ago", level: printer.LevelError}
	}
	clock := item{name: "clock", state: "plausible", detail: n.Clock.Now.Format(time.RFC3339)}
	if n.Clock.Behind {
		clock.state, clock.detail, clock.level = "wrong", fmt.Sprintf("it says %s, and %s has passed", n.Clock.Now.Format(time.RFC3339), n.Clock.Proved.Format(time.RFC3339)), printer.LevelError
	}
	items = append(items, store, runtime, pods, devices, mqttItem(n.MQTT, now), certificate, clock)
	for _, d := range n.Disks {
		items = append(items, diskItem(d))
	}
	return items
}

func linkItem(n *nodestate.Status, now time.Time) item {
	l := n.Link
	if l.Connected {
		detail := fmt.Sprintf("for %s to %s by %s", printer.Age(l.Since, now), l.Cloud, l.Transport)
		if l.RoundTrip != "" {
			detail += ", round trip " + l.RoundTrip
		}
		return item{name: "link", state: "connected", detail: detail}
	}
	out := item{name: "link", state: "down", level: printer.LevelError, detail: "to " + l.Cloud + ": " + l.Reason}
	if !l.Since.IsZero() {
		out.detail = "for " + printer.Age(l.Since, now) + ", " + out.detail
	}
	switch {
	case l.Fenced:
		out.state = "fenced"
	case !l.NextTry.IsZero() && l.NextTry.After(now):
		out.detail += "; next attempt " + printer.Age(l.NextTry, now)
	default:
		out.detail += "; an attempt is being made"
	}
	return out
}

func mqttItem(m nodestate.MQTT, now time.Time) item {
	out := item{name: "mqtt", state: m.Mode, detail: fmt.Sprintf("%d clients on %s, %s queued", m.Clients, strings.Join(m.Listen, " "), size(m.QueuedBytes))}
	if m.Mode == "external" {
		out.detail = ""
	}
	if b := m.Outside; b != nil {
		state := "connected"
		if !b.Connected {
			state = "not connected: " + b.Reason
			out.level = printer.LevelWarning
		}
		out.detail = strings.TrimPrefix(fmt.Sprintf("%s; broker %s %s since %s, %d messages wait for it", out.detail, b.URL, state, printer.Age(b.Since, now), b.Waiting), "; ")
	}
	return out
}

func diskItem(d nodestate.Disk) item {
	out := item{name: "disk", state: "ok", detail: fmt.Sprintf("%s: %s free of %s", d.Path, size(int64(d.FreeBytes)), size(int64(d.TotalBytes)))}
	if diskFull(d) {
		out.state, out.level = "full", printer.LevelError
	}
	return out
}

// diskFull is below a tenth, or without inodes.
func diskFull(d nodestate.Disk) bool { return d.FreeBytes < d.TotalBytes/10 || d.FreeInodes == 0 }

func podNames(p nodestate.Pods) string {
	var names []string
	for _, pod := range p.NotReady[:min(len(p.NotReady), 5)] {
		names = append(names, strings.TrimSpace(pod.Namespace+"/"+pod.Name+" "+pod.Reason))
	}
	if len(p.NotReady) > 5 {
		names = append(names, fmt.Sprintf("and %d more", len(p.NotReady)-5))
	}
	return strings.Join(names, ", ")
}

func deviceStates(d nodestate.Devices) string {
	var parts []string
	for state, n := range d.States {
		parts = append(parts, fmt.Sprintf("%d %s", n, state))
	}
	slices.Sort(parts)
	if len(d.Bad) > 0 {
		parts = append(parts, "such as "+strings.Join(d.Bad[:min(len(d.Bad), 5)], " "))
	}
	return strings.Join(parts, ", ")
}

func encrypted(yes bool) string {
	if yes {
		return "encrypted"
	}
	return "not encrypted"
}

func queued(n *int) string {
	if n == nil {
		return ""
	}
	return fmt.Sprintf(", %d reports of state", *n)
}

// size is a number of bytes for people.
func size(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

// folderSize is that of the files in dir, as far as they can be read.
func folderSize(dir string) int64 {
	var sum int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				sum += info.Size()
			}
		}
		return nil // what cannot be read does not count
	})
	return sum
}
