package pipeline

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// Bounds of durations in a spec.
const (
	minDuration = time.Millisecond
	maxDuration = 366 * 24 * time.Hour
)

// duration checks a duration and returns it.
func (c *compiler) duration(a at, d time.Duration) time.Duration {
	if d < minDuration || d > maxDuration {
		c.fail(a, "is %v: it needs %v to %v", d, minDuration, maxDuration)
		return minDuration
	}
	return d
}

// optional checks a duration that may be absent or 0 and returns it, or otherwise.
func (c *compiler) optional(a at, d *metav1.Duration, otherwise time.Duration) time.Duration {
	if d == nil || d.Duration == 0 {
		return otherwise
	}
	return c.duration(a, d.Duration)
}

func (c *compiler) tables() {
	seen := make(map[v1alpha1.Name]bool)
	for i := range c.p.Spec.Tables {
		t := &c.p.Spec.Tables[i]
		a := at{string(t.Name), "spec.tables"}.index(i)
		if seen[t.Name] || !namePattern().MatchString(string(t.Name)) {
			c.fail(a.field("name"), "is %.70q: each table needs a name of its own, of letters and digits", t.Name)
		}
		seen[t.Name] = true
		if t.Key == "" {
			c.fail(a.field("key"), "is required: the column whose value names a row")
		}
		if (t.ConfigMapRef == nil) == (len(t.Rows) == 0) {
			c.fail(a, "needs rows or a configMapRef, and not both")
		}
		if len(t.Rows) > v1alpha1.MaxRows {
			c.fail(a.field("rows"), "has %d entries, over the limit of %d", len(t.Rows), v1alpha1.MaxRows)
			continue
		}
		if _, err := rowsOf(t, nil); t.ConfigMapRef == nil && err != nil {
			c.fail(a.field("rows"), "%v", err)
		}
	}
}

func (c *compiler) sources() {
	for i := range c.p.Spec.Sources {
		s := &c.p.Spec.Sources[i]
		n := &planNode{role: roleSource, index: i, name: string(s.Name), source: &sourcePlan{}}
		a := n.at()
		n.kind = c.one(a, option{"mqtt", s.MQTT != nil}, option{"twin", s.Twin != nil}, option{"http", s.HTTP != nil},
			option{"file", s.File != nil}, option{"containerLogs", s.ContainerLogs != nil})
		n.source.time = c.expression(a.field("time"), s.Time, Any)
		c.decode(a, n, s.Decode)
		c.add(a, n)
	}
}

func (c *compiler) decode(a at, n *planNode, d *v1alpha1.Decode) {
	if d == nil {
		switch n.kind {
		case "mqtt", "http":
			d = &v1alpha1.Decode{Format: "json"}
		case "file", "containerLogs":
			d = &v1alpha1.Decode{Format: "text"}
		default:
			return
		}
	}
	n.source.each = d.Each
	if d.Format == "none" {
		return
	}
	dec, err := c.o.Decoder(d)
	if err != nil {
		c.fail(a.field("decode"), "%v", err)
	}
	n.source.decoder = dec
}

func (c *compiler) sinks() {
	for i := range c.p.Spec.Sinks {
		s := &c.p.Spec.Sinks[i]
		n := &planNode{role: roleSink, index: i, name: string(s.Name)}
		a := n.at()
		n.kind = c.one(a, option{"cloud", s.Cloud != nil}, option{"twin", s.Twin != nil}, option{"mqtt", s.MQTT != nil},
			option{"http", s.HTTP != nil}, option{"nats", s.NATS != nil}, option{"kafka", s.Kafka != nil},
			option{"otlp", s.OTLP != nil}, option{"influx", s.Influx != nil}, option{"file", s.File != nil})
		c.sinkExpressions(a.field("%s", n.kind), s)
		if q := s.Queue; q != nil {
			c.optional(a.field("queue.maxAge"), q.MaxAge, 0)
			c.optional(a.field("queue.keep"), q.Keep, 0)
			switch q.Overflow {
			case "", v1alpha1.DropOldest, v1alpha1.DropNewest, v1alpha1.Block:
			default:
				c.fail(a.field("queue.overflow"), "is %.40q: use DropOldest, DropNewest or Block", q.Overflow)
			}
			if q.MaxSize != nil && q.MaxSize.Value() < MaxEvent {
				c.fail(a.field("queue.maxSize"), "is %s: it needs at least 1Mi, for one event", q.MaxSize)
			}
		}
		if b := s.Batch; b != nil {
			c.optional(a.field("batch.linger"), b.Linger, 0)
			if b.Events < 0 || b.Events > 10000 {
				c.fail(a.field("batch.events"), "is %d: it needs 1 to 10000", b.Events)
			}
		}
		if s.Retry != nil {
			c.optional(a.field("retry.for"), s.Retry.For, 0)
		}
		c.add(a, n)
	}
}

// sinkExpressions compiles the expressions of a sink, which its opener compiles again.
func (c *compiler) sinkExpressions(a at, s *v1alpha1.Sink) {
	if t := s.Twin; t != nil {
		c.required(a.field("device"), t.Device, String)
		c.required(a.field("value"), t.Value, Any)
	}
	if m := s.MQTT; m != nil {
		c.template(a.field("topic"), m.Topic)
	}
	if n := s.NATS; n != nil {
		c.template(a.field("subject"), n.Subject)
	}
	if k := s.Kafka; k != nil {
		c.expression(a.field("key"), k.Key, Any)
	}
	if in := s.Influx; in != nil {
		c.template(a.field("measurement"), in.Measurement)
		if len(in.Fields) == 0 {
			c.fail(a.field("fields"), "needs at least one field")
		}
		for _, name := range sortedKeys(in.Tags) {
			c.yamlBool(a.field("tags"), name)
			c.required(a.field("tags[%q]", name), in.Tags[name], Any)
		}
		for _, name := range sortedKeys(in.Fields) {
			c.yamlBool(a.field("fields"), name)
			c.required(a.field("fields[%q]", name), in.Fields[name], Any)
		}
	}
}
