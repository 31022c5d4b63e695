package pipeline

import (
	"path"
	"strings"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// loops refuses pipelines that feed themselves, whatever their filters let through, and sinks that
// write to one file. A topic that depends on the event is known in Send alone: sinks look at
// Env.Upstream there.
func (c *compiler) loops() {
	feeds := make(map[int][]int) // from a sink to the sources that its events come in at again
	files := make(map[string]*planNode)
	for i, n := range c.plan.nodes {
		if n.role != roleSink {
			continue
		}
		spec := &c.p.Spec.Sinks[n.index]
		if f := spec.File; f != nil {
			name := path.Clean(f.Path)
			if other := files[name]; other != nil {
				c.fail(n.at().field("file.path"), "%.100q is the file of sink %s, too: each sink needs a file of its own", f.Path, other.name)
			}
			files[name] = n
		}
		for j, source := range c.plan.nodes {
			if source.role == roleSource && c.feeds(spec, &c.p.Spec.Sources[source.index]) {
				feeds[i] = append(feeds[i], j)
			}
		}
	}
	for i, n := range c.plan.nodes {
		for _, j := range feeds[i] {
			if c.reaches(j, i, feeds, make(map[int]bool)) {
				field := map[string]string{"mqtt": "mqtt.topic", "file": "file.path"}[n.kind]
				c.fail(n.at().field("%s", field), "what it sends comes in again at source %s, and from there to this sink, and so on: send elsewhere, or have the source read less", c.plan.nodes[j].name)
				break
			}
		}
	}
}

// feeds reports whether all that a sink sends comes in at a source.
func (c *compiler) feeds(sink *v1alpha1.Sink, source *v1alpha1.Source) bool {
	switch {
	case sink.MQTT != nil && source.MQTT != nil:
		t, err := CompileTemplate(c.o.Expressions, string(sink.MQTT.Topic))
		if err != nil {
			return false
		}
		filter := bus.Unshare(source.MQTT.Topic)
		// An expression may result in one level of a topic or in several.
		return bus.Match(filter, strings.Join(t.texts, "\x01")) && bus.Match(filter, strings.Join(t.texts, "\x01/\x01"))
	case sink.File != nil && source.File != nil:
		return path.Clean(sink.File.Path) == path.Clean(source.File.Path)
	}
	return false
}

// reaches reports whether events of a node come to a sink, perhaps by way of other sinks that
// feed a source.
func (c *compiler) reaches(from, sink int, feeds map[int][]int, seen map[int]bool) bool {
	if from == sink {
		return true
	}
	if seen[from] {
		return false
	}
	seen[from] = true
	for _, e := range c.plan.nodes[from].edges {
		if c.reaches(e.to, sink, feeds, seen) {
			return true
		}
	}
	for _, source := range feeds[from] {
		if c.reaches(source, sink, feeds, seen) {
			return true
		}
	}
	return false
}

// upstream lists the sources whose events come to a node.
func (p *Plan) upstream(n *planNode) []*v1alpha1.Source {
	var out []*v1alpha1.Source
	seen := make(map[int]bool)
	var visit func(froms []int)
	visit = func(froms []int) {
		for _, i := range froms {
			if seen[i] {
				continue
			}
			seen[i] = true
			if from := p.nodes[i]; from.role == roleSource {
				out = append(out, &p.spec.Spec.Sources[from.index])
			} else {
				visit(from.froms)
			}
		}
	}
	visit(n.froms)
	return out
}
