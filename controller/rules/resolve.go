package rules

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	v1 "github.com/edgekit/edgekit/bus/rules/v1"
	"github.com/edgekit/edgekit/bus/rules/wire"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/delivery"
)

// resolved is a Rule with its endpoints.
type resolved struct {
	name           cache.Name
	rule           *v1.Rule
	source, target *v1.RuleEndpoint // nil where there is none
	version        string           // of the newest of the three
	reason         string           // of the condition Resolved
	message        string           // of the same
	pattern        pattern          // of a source rest
}

// ok reports whether the rule is in force.
func (r *resolved) ok() bool { return r != nil && r.reason == v1.ReasonResolved }

// node is the node of a source that is on one; "" for a source rest.
func (r *resolved) node() string {
	if r == nil {
		return ""
	}
	return string(r.rule.Spec.SourceResource[v1.KeyNodeName])
}

// defaultTTL is how long messages of a Rule without ttl are tried.
const defaultTTL = time.Hour

func (r *resolved) ttl() time.Duration {
	if r.rule.Spec.TTL == nil {
		return defaultTTL
	}
	return max(0, r.rule.Spec.TTL.Duration)
}

// property returns a value of the target's properties; "" if it has none.
func (r *resolved) property(key string) string {
	if r.target == nil {
		return ""
	}
	return string(r.target.Spec.Properties[key])
}

// resolve joins the Rules of one namespace with their endpoints and decides which are in
// force. It is pure.
func resolve(rules []cache.Item[*v1.Rule], endpoint func(name string) (cache.Item[*v1.RuleEndpoint], bool)) []*resolved {
	out := make([]*resolved, 0, len(rules))
	for _, item := range rules {
		r := &resolved{name: cache.Name{Namespace: item.Object.Namespace, Name: item.Object.Name}, rule: item.Object, version: item.Version}
		for _, end := range []struct {
			name string
			to   **v1.RuleEndpoint
		}{{item.Object.Spec.Source, &r.source}, {item.Object.Spec.Target, &r.target}} {
			if e, ok := endpoint(end.name); ok {
				*end.to = e.Object
				if cache.Compare(e.Version, r.version) > 0 {
					r.version = e.Version
				}
			}
		}
		r.reason, r.message = r.judge()
		out = append(out, r)
	}
	refuseTies(out)
	return out
}

// judge decides about one rule by itself.
func (r *resolved) judge() (reason, message string) {
	spec := &r.rule.Spec
	sourceType, targetType := spec.SourceType(), spec.TargetType()
	switch {
	case sourceType == "" || targetType == "" || (sourceType == v1.Rest) == (targetType == v1.Rest):
		return v1.ReasonInvalid, "sourceResource and targetResource are none of the four pairs: see the schema"
	case sourceType != v1.Rest && spec.SourceResource[v1.KeyNodeName] == "":
		return v1.ReasonInvalid, "sourceResource.node_name is missing"
	case r.source == nil:
		return v1.ReasonNoEndpoint, fmt.Sprintf("RuleEndpoint %s of spec.source does not exist in this namespace", spec.Source)
	case r.target == nil:
		return v1.ReasonNoEndpoint, fmt.Sprintf("RuleEndpoint %s of spec.target does not exist in this namespace", spec.Target)
	case r.source.Spec.RuleEndpointType != sourceType:
		return v1.ReasonWrongType, fmt.Sprintf("RuleEndpoint %s is %s, but the keys of sourceResource are those of %s", spec.Source, r.source.Spec.RuleEndpointType, sourceType)
	case r.target.Spec.RuleEndpointType != targetType:
		return v1.ReasonWrongType, fmt.Sprintf("RuleEndpoint %s is %s, but the keys of targetResource are those of %s", spec.Target, r.target.Spec.RuleEndpointType, targetType)
	case targetType == v1.ServiceBus && r.target.Spec.Properties[v1.PropertyPort] == "":
		return v1.ReasonServicePortNone, fmt.Sprintf("RuleEndpoint %s has no property service_port", spec.Target)
	}
	switch sourceType {
	case v1.Rest:
		var ok bool
		if r.pattern, ok = parsePattern(string(spec.SourceResource[v1.KeyPath])); !ok {
			return v1.ReasonInvalid, "sourceResource.path is empty or has an empty part"
		}
	case v1.EventBus:
		if _, err := wire.SourceFilter(r.name.Namespace, string(spec.SourceResource[v1.KeyTopic])); err != nil {
			return v1.ReasonInvalid, "sourceResource.topic: " + err.Error()
		}
	}
	if targetType == v1.EventBus {
		if err := wire.PublishTopic(string(spec.TargetResource[v1.KeyTopic])); err != nil {
			return v1.ReasonInvalid, "targetResource.topic: " + err.Error()
		}
	}
	if targetType == v1.Rest {
		if _, err := delivery.ParseTarget(string(spec.TargetResource[v1.KeyResource])); err != nil {
			return v1.ReasonInvalid, "targetResource.resource: " + err.Error()
		}
	}
	return v1.ReasonResolved, "source and target exist"
}

// refuseTies refuses each rule whose path is that of an older one, and sorts the rules by
// which answers first.
func refuseTies(rules []*resolved) {
	slices.SortFunc(rules, func(a, b *resolved) int {
		return cmp.Or(
			comparePatterns(a.pattern, b.pattern),
			a.rule.CreationTimestamp.Compare(b.rule.CreationTimestamp.Time),
			cmp.Compare(a.name.Name, b.name.Name))
	})
	var first *resolved
	for _, r := range rules {
		if !r.ok() || r.pattern == nil {
			continue
		}
		if first != nil && comparePatterns(first.pattern, r.pattern) == 0 {
			r.reason = v1.ReasonPathTaken
			r.message = fmt.Sprintf("Rule %s, which is older, has the same path", first.name.Name)
			continue
		}
		first = r
	}
}
