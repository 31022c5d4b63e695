package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/edgekit/edgekit/cmd/edgectl/internal/printer"
	"github.com/edgekit/edgekit/cmd/internal/nodestate"
	"github.com/edgekit/edgekit/edged/jobs"
)

// localProblems judges the state of this machine.
func (s *statusCmd) localProblems(l *localStatus) []problem {
	problems := jobProblems(l.Jobs)
	if l.Node != nil {
		return append(problems, s.nodeProblems(l.Node, l.Time)...)
	}
	add := func(reason, next, message string) {
		problems = append(problems, problem{Severity: severityError, Object: "service/edgecore", Reason: reason, Message: message, Next: next})
	}
	switch {
	case l.Running:
		problems = append(problems, problem{Severity: severityWarning, Object: "service/edgecore", Reason: "OlderVersion", Next: "systemctl restart edgecore",
			Message: "the edgecore that runs is older than this edgectl and has no status; a restart starts the installed one, and pods run on"})
	case !l.Files.Joined:
		add("NotJoined", "edgecore join --help", "this machine has no identity in "+s.DataDir+": get a token from 'edgectl token create' in the cloud")
	case l.Service.State == "active":
		add("NotAnswering", "journalctl -u edgecore -e", "the service runs, and edgecore does not answer on its socket: it starts, hangs, or has another data folder than "+s.DataDir)
	default:
		add("NotRunning", "systemctl start edgecore", "edgecore does not run; the containers of its pods run on, and nobody looks after them")
	}
	if l.Service.State == "inactive" && !l.Service.Enabled {
		problems = append(problems, problem{Severity: severityWarning, Object: "service/edgecore", Reason: "NotEnabled", Next: "systemctl enable edgecore", Message: "edgecore does not start with the machine"})
	}
	if l.Files.behind(l.Time) {
		problems = append(problems, clockProblem(l.Time, l.Files.Proved))
	}
	if l.Files.Joined && l.Files.Certificate.Before(l.Time) {
		problems = append(problems, expired(l.Files.Certificate))
	}
	return append(problems, diskProblems(l.Files.Disks)...)
}

// jobProblems lists the jobs that wait for somebody at the machine.
func jobProblems(all []jobs.Status) []problem {
	problems := []problem{}
	for _, j := range all {
		if j.WaitingSince != nil {
			problems = append(problems, problem{Severity: severityWarning, Object: "job/" + j.Name, Reason: "WaitingForConfirmation", Since: *j.WaitingSince,
				Next: "edgectl confirm " + j.Kind + "/" + j.Name, Message: "or refuse it: edgectl refuse " + j.Kind + "/" + j.Name + " --reason TEXT"})
		}
	}
	return problems
}

// nodeProblems judges a node's status document.
func (s *statusCmd) nodeProblems(n *nodestate.Status, now time.Time) []problem {
	node := "node/" + n.Node
	var problems []problem
	add := func(severity, object, reason, next, message string, since time.Time) {
		problems = append(problems, problem{severity, object, reason, message, since, next})
	}
	switch l := n.Link; {
	case l.Connected:
	case l.Fenced:
		add(severityError, node, "Fenced", "edgectl node release "+n.Node, "another machine has this node's identity and the link: was a disk cloned? give one of the two a name of its own (in the cloud), or stop the other", l.Since)
	default:
		add(severityError, node, "LinkDown", "edgectl check", "no link to "+l.Cloud+": "+l.Reason, l.Since)
	}
	if f := n.Store.Failure; f != "" {
		add(severityError, "store/"+n.Node, "StoreUnwritable", "df -h", f, time.Time{})
	}
	if n.Store.Damaged > 0 {
		add(severityWarning, "store/"+n.Node, "StoreDamaged", "edgectl debug bundle", fmt.Sprintf("%d damaged stores were set aside", n.Store.Damaged), time.Time{})
	}
	if n.Store.EventsDropped > 0 {
		add(severityWarning, "store/"+n.Node, "EventsDropped", "edgectl events", fmt.Sprintf("%d events were dropped, because too many waited for the cloud", n.Store.EventsDropped), time.Time{})
	}
	if !n.Store.Encrypted {
		add(severityWarning, "store/"+n.Node, "NotEncrypted", "edgecore store encrypt --help", "the store is not encrypted", time.Time{})
	}
	if !n.Runtime.Ready {
		add(severityError, "runtime/"+n.Runtime.Endpoint, "RuntimeNotReady", "systemctl status containerd", n.Runtime.Message, time.Time{})
	}
	for _, p := range n.Pods.NotReady {
		if p.Reason == "ContainerCreating" && now.Sub(p.Since) < time.Minute {
			continue // it starts
		}
		message := strings.TrimSpace(fmt.Sprintf("%s %s, %d restarts", p.Phase, p.Message, p.Restarts))
		add(severityWarning, "pod/"+p.Name, reasonOf(p), fmt.Sprintf("edgectl describe pod %s --in %s", p.Name, p.Namespace), message, p.Since)
	}
	for _, d := range n.Devices.Bad {
		add(severityWarning, "device/"+d, "NotOnline", "edgectl get devices -A", "the device is not online", time.Time{})
	}
	if b := n.MQTT.Outside; b != nil && !b.Connected {
		add(severityWarning, "broker/"+b.URL, "BrokerAway", "edgectl describe node", b.Reason, b.Since)
	}
	problems = append(problems, s.certificateProblems(n, now)...)
	if n.Clock.Behind {
		problems = append(problems, clockProblem(n.Clock.Now, n.Clock.Proved))
	}
	return append(problems, diskProblems(n.Disks)...)
}

func (s *statusCmd) certificateProblems(n *nodestate.Status, now time.Time) []problem {
	switch ends := n.Certificate.Ends; {
	case ends.Before(now):
		return []problem{expired(ends)}
	case ends.Sub(now) < s.Certificate:
		return []problem{{Severity: severityWarning, Object: "certificate/" + n.Node, Reason: "CertificateEnds", Next: "edgectl check",
			Message: fmt.Sprintf("it ends %s and was not renewed (%d renewals failed)", printer.Age(ends, now), n.Certificate.RenewalFailed)}}
	}
	return nil
}

func expired(ends time.Time) problem {
	return problem{Severity: severityError, Object: "certificate/node", Reason: "CertificateExpired", Since: ends, Next: "edgecore join --help",
		Message: "the node renews it by itself within the grace period of the cloud; if the cloud refuses, join again with --replace"}
}

func reasonOf(p nodestate.Pod) string {
	if p.Reason == "" {
		return "NotReady"
	}
	return p.Reason
}

func clockProblem(now, proved time.Time) problem {
	return problem{Severity: severityWarning, Object: "clock/this-machine", Reason: "ClockWrong", Next: "timedatectl",
		Message: fmt.Sprintf("the clock says %s, and %s has passed: certificates are judged by the latter", now.UTC().Format(time.RFC3339), proved.UTC().Format(time.RFC3339))}
}

func diskProblems(disks []nodestate.Disk) []problem {
	var out []problem
	for _, d := range disks {
		if diskFull(d) {
			out = append(out, problem{Severity: severityError, Object: "disk/" + strings.TrimPrefix(d.Path, "/"), Reason: "DiskFull", Next: "df -h " + d.Path,
				Message: fmt.Sprintf("%s of %s are free, %d inodes", size(int64(d.FreeBytes)), size(int64(d.TotalBytes)), d.FreeInodes)})
		}
	}
	return out
}
