package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/cmd/edgectl/internal/printer"
	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
)

// fleetStatus is the state of all edge nodes. Its JSON is stable.
type fleetStatus struct {
	Kind         string             `json:"kind"` // FleetStatus
	Time         time.Time          `json:"time"`
	Nodes        nodeCounts         `json:"nodes"`
	Sites        []siteCounts       `json:"sites"`    // by name; "" is no site
	Versions     map[string]int     `json:"versions"` // how many nodes report each
	Certificates *certificateCounts `json:"certificates,omitempty"`
	Cloudcores   []cloudcore        `json:"cloudcores"`
	Jobs         []job              `json:"jobs"` // those that have not completed
	// Unknown says what could not be read, and what no cloud knows.
	Unknown  []string  `json:"unknown"`
	Problems []problem `json:"problems"` // the worst first
}

// nodeCounts counts nodes.
type nodeCounts struct {
	Total          int `json:"total"`
	Connected      int `json:"connected"`
	Disconnected   int `json:"disconnected"`
	NeverConnected int `json:"neverConnected"`
	NotReady       int `json:"notReady"`     // connected, and not Ready
	Unregistered   int `json:"unregistered"` // joined, and no Node yet
}

// siteCounts counts the nodes of a site.
type siteCounts struct {
	Site string `json:"site"`
	nodeCounts
}

// certificateCounts counts certificates of nodes.
type certificateCounts struct {
	Valid   int `json:"valid"`
	Ending  int `json:"ending"` // within --certificate-warning
	Expired int `json:"expired"`
	Unknown int `json:"unknown"`
}

func (c *nodeCounts) add(n fleetNode) {
	c.Total++
	switch n.link {
	case corev1.ConditionTrue:
		c.Connected++
		if !n.ready {
			c.NotReady++
		}
	case "":
		c.NeverConnected++
	default:
		c.Disconnected++
	}
}

// readFleet reads the state of the fleet.
func (s *statusCmd) readFleet(ctx context.Context, cli *cli, now time.Time) (*fleetStatus, error) {
	f, err := cli.fleet()
	if err != nil {
		return nil, err
	}
	identities, err := cli.identityOf(f.client)
	if err != nil {
		return nil, err
	}
	return s.gather(ctx, f, identities.ListNodes, now)
}

// gather reads everything. Only the nodes are required: what else cannot be read is in Unknown.
func (s *statusCmd) gather(ctx context.Context, f *fleet, identities func(context.Context) ([]nodeidentity.Claimed, error), now time.Time) (*fleetStatus, error) {
	out := &fleetStatus{Kind: "FleetStatus", Time: now, Versions: make(map[string]int), Cloudcores: []cloudcore{}, Jobs: []job{}, Problems: []problem{},
		Unknown: []string{"backlog and transport: nodes know them; 'edgectl describe node NAME' asks a connected one"}}
	sites, known, ended := make(map[string]*siteCounts), make(map[string]bool), make(map[string]bool)
	err := f.nodes(ctx, s.SiteLabel, func(n fleetNode) {
		out.Nodes.add(n)
		site := sites[n.site]
		if site == nil {
			site = &siteCounts{Site: n.site}
			sites[n.site] = site
		}
		site.add(n)
		out.Versions[n.version]++
		known[n.name] = true
		if n.reason == nodelifecycle.ReasonAutonomyEnded || n.reason == nodelifecycle.ReasonGivenUp {
			ended[n.name] = true
		}
		out.Problems = append(out.Problems, fleetProblems(n)...)
	})
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(sites)) {
		out.Sites = append(out.Sites, *sites[name])
	}
	if claimed, err := identities(ctx); err != nil {
		out.Unknown = append(out.Unknown, "certificates: "+err.Error())
	} else {
		s.judgeIdentities(out, claimed, known)
	}
	if out.Cloudcores, err = f.cloudcores(ctx, ended, now); err != nil {
		out.Unknown = append(out.Unknown, "cloudcores: "+err.Error())
	}
	for _, c := range out.Cloudcores {
		if !c.Running {
			out.Problems = append(out.Problems, problem{severityError, "cloudcore/" + c.Name, "CloudcoreLost", fmt.Sprintf("%d nodes were held by it last, and it renews none of them", c.Nodes), c.Renewed,
				"kubectl get pods -n " + f.namespace})
		}
	}
	if out.Jobs, err = f.jobs(ctx); err != nil {
		out.Unknown = append(out.Unknown, "jobs: "+err.Error())
	}
	for _, j := range out.Jobs {
		if j.Phase == "Failure" {
			out.Problems = append(out.Problems, problem{severityWarning, "job/" + j.Name, "JobFailed", j.Reason, j.Since, fmt.Sprintf("kubectl describe %s %s", jobResources[j.Kind], j.Name)})
		}
	}
	sortProblems(out.Problems)
	return out, nil
}

// fleetProblems judges a Node.
func fleetProblems(n fleetNode) []problem {
	next := "edgectl describe node " + n.name
	var out []problem
	switch {
	case n.link == "":
		out = append(out, problem{severityWarning, "node/" + n.name, "NeverConnected", "no cloudcore has ever had a link to it: at the machine, 'edgectl status' says why", n.created, next})
	case n.link != corev1.ConditionTrue:
		message := "the link is down"
		if n.cause != "" {
			message += ": " + n.cause
		}
		out = append(out, problem{severityError, "node/" + n.name, cmp.Or(n.reason, "Disconnected"), message, n.since, next})
	case !n.ready:
		out = append(out, problem{severityError, "node/" + n.name, "NotReady", "the node is connected and not Ready", n.readySince, next})
	}
	for _, c := range n.bad {
		out = append(out, problem{severityWarning, "node/" + n.name, string(c.Type), c.Message, c.LastTransitionTime.Time, next})
	}
	return out
}

// judgeIdentities counts certificates, and finds machines that joined and are no nodes.
func (s *statusCmd) judgeIdentities(out *fleetStatus, claimed []nodeidentity.Claimed, known map[string]bool) {
	counts := &certificateCounts{}
	out.Certificates = counts
	for _, c := range claimed {
		if !c.Revoked.IsZero() || c.KeyHash == "" {
			continue
		}
		if c.Waits {
			out.Problems = append(out.Problems, problem{severityWarning, "node/" + c.Node, "WaitsForApproval", "a machine wants to join with this name", time.Time{}, "edgectl node list --pending"})
			continue
		}
		if !known[c.Node] {
			out.Nodes.Unregistered++
			out.Problems = append(out.Problems, problem{severityWarning, "node/" + c.Node, "NotRegistered", "a machine has joined with this name, and there is no Node: at the machine, 'edgectl status' says why", time.Time{}, "edgectl node list"})
		}
		problem := problem{severityWarning, "certificate/" + c.Node, "CertificateEnds", "the node has not renewed it yet: it must have a link", time.Time{}, "edgectl describe node " + c.Node}
		switch {
		case c.Until.IsZero():
			counts.Unknown++
			continue
		case c.Until.Before(out.Time):
			counts.Expired++
			problem.Severity, problem.Reason, problem.Since = severityError, "CertificateExpired", c.Until
			problem.Message = "it renews when the node connects within the grace period (cloudcore --renew-grace); after that the node joins again with --replace"
		case c.Until.Sub(out.Time) < s.Certificate:
			counts.Ending++
			problem.Message = "it ends " + printer.Age(c.Until, out.Time) + ", and " + problem.Message
		default:
			counts.Valid++
			continue
		}
		out.Problems = append(out.Problems, problem)
	}
}

func (s *statusCmd) printFleet(out io.Writer, f *fleetStatus) error {
	if s.Output != printer.FormatTable && s.Output != printer.FormatWide {
		return s.Print(out, problemsTable(f.Problems, 0, f.Time), f)
	}
	if err := printProblems(out, s.Flags, f.Problems, s.Limit, f.Time); err != nil {
		return err
	}
	tables := []printer.Table{sitesTable(f), namesTable("VERSION", f.Versions), cloudcoresTable(f)}
	if len(f.Jobs) > 0 {
		tables = append(tables, jobsTable(f))
	}
	if c := f.Certificates; c != nil {
		tables = append(tables, printer.Table{
			Columns: []printer.Column{{Name: "CERTIFICATES VALID"}, {Name: "ENDING"}, {Name: "EXPIRED"}, {Name: "UNKNOWN"}},
			Rows:    []printer.Row{{Cells: []any{c.Valid, c.Ending, c.Expired, c.Unknown}}},
		})
	}
	for _, t := range tables {
		fmt.Fprintln(out)
		if err := s.Print(out, t, nil); err != nil {
			return err
		}
	}
	return printUnknown(out, f.Unknown)
}

// sitesTable has a row for each site, and one for all.
func sitesTable(f *fleetStatus) printer.Table {
	t := printer.Table{Columns: []printer.Column{{Name: "SITE"}, {Name: "NODES"}, {Name: "CONNECTED"}, {Name: "AWAY"}, {Name: "NEVER"}, {Name: "NOT READY"}, {Name: "NOT REGISTERED", Wide: true}}}
	add := func(name string, c nodeCounts) {
		t.Rows = append(t.Rows, printer.Row{Name: "site/" + name, Cells: []any{name, c.Total, c.Connected, c.Disconnected, c.NeverConnected, c.NotReady, c.Unregistered}})
	}
	if len(f.Sites) > 1 || len(f.Sites) == 1 && f.Sites[0].Site != "" {
		for _, site := range f.Sites {
			add(cmp.Or(site.Site, "(none)"), site.nodeCounts)
		}
	}
	add("(all)", f.Nodes)
	return t
}

func namesTable(column string, counts map[string]int) printer.Table {
	t := printer.Table{Columns: []printer.Column{{Name: column}, {Name: "NODES"}}}
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		t.Rows = append(t.Rows, printer.Row{Cells: []any{name, counts[name]}})
	}
	return t
}

func cloudcoresTable(f *fleetStatus) printer.Table {
	t := printer.Table{Now: f.Time, Columns: []printer.Column{{Name: "CLOUDCORE"}, {Name: "STATE"}, {Name: "NODES"}, {Name: "RENEWED"}}}
	for _, c := range f.Cloudcores {
		row := printer.Row{Name: "cloudcore/" + c.Name, Cells: []any{c.Name, "running", c.Nodes, c.Renewed}}
		if !c.Running {
			row.Cells[1], row.Level = "lost", printer.LevelError
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func jobsTable(f *fleetStatus) printer.Table {
	t := printer.Table{Now: f.Time, Columns: []printer.Column{{Name: "JOB"}, {Name: "KIND"}, {Name: "PHASE"}, {Name: "AGE"}, {Name: "REASON"}}}
	for _, j := range f.Jobs {
		t.Rows = append(t.Rows, printer.Row{Name: "job/" + j.Name, Cells: []any{j.Name, j.Kind, j.Phase, j.Since, j.Reason}})
	}
	return t
}
