package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

// parts is what pipelines get of the node.
type parts struct {
	env  pipeline.Env
	runs []func(context.Context) error
	log  *slog.Logger

	twins *twins // nil for none

	mu     sync.Mutex
	inputs map[inputKey]wire.Input
	uids   map[pipeline.Ref]string
	all    map[pipeline.Ref]*v1alpha1.Pipeline // of the last Set
	unread map[pipeline.Ref]wire.Report        // those that cannot be read
}

type inputKey struct{ kind, namespace, name string }

// newParts makes the parts of a node.
func newParts(s *wire.Set, host *host, state string, log *slog.Logger) (*parts, error) {
	p := &parts{log: log, inputs: make(map[inputKey]wire.Input), uids: make(map[pipeline.Ref]string)}
	p.env = pipeline.Env{Node: s.Node, Logger: log.With("component", "pipelines"), Cloud: cloud{host}, Files: s.Files, State: state, Secret: p.secret, Table: p.table}
	if s.MQTT.URL != "" {
		b, err := newBroker(s.MQTT, log)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errNoBroker, err)
		}
		p.env.Broker = b
		p.runs = append(p.runs, b.publish.Run)
	}
	if s.API != "" {
		t := newTwins(s.API, log)
		p.env.Twins, p.twins = scopedTwins{t, ""}, t
		p.runs = append(p.runs, t.run)
	}
	if err := p.addSources(s, log); err != nil {
		return nil, err
	}
	p.env.Scope = scope
	return p, nil
}

// scope confines a Pipeline to what its namespace has on the node.
func scope(env *pipeline.Env) {
	if env.Broker != nil {
		env.Broker = scopedBroker{env.Broker, env.Ref.Namespace}
	}
	if t, ok := env.Twins.(scopedTwins); ok {
		env.Twins = scopedTwins{t.twins, env.Ref.Namespace}
	}
	if l, ok := env.Logs.(scopedLogs); ok {
		l.namespace = env.Ref.Namespace
		env.Logs = l
	}
}

// apply has the Pipelines of a Set run.
func (p *parts) apply(s *wire.Set, runner *pipeline.Runner) { runner.Apply(p.read(s)) }

// read notes what is in a Set and returns its Pipelines. One that cannot be read keeps its former
// form, if it has one: the runner removes what is stored of Pipelines that it no longer gets.
func (p *parts) read(s *wire.Set) []*v1alpha1.Pipeline {
	inputs := make(map[inputKey]wire.Input, len(s.Inputs))
	for _, in := range s.Inputs {
		inputs[inputKey{in.Kind, in.Namespace, in.Name}] = in.Input
	}
	if p.twins != nil {
		p.twins.setLabels(s.Devices)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	former := p.all
	p.inputs, p.uids = inputs, make(map[pipeline.Ref]string)
	p.all, p.unread = make(map[pipeline.Ref]*v1alpha1.Pipeline), make(map[pipeline.Ref]wire.Report)
	var list []*v1alpha1.Pipeline
	for _, raw := range s.Pipelines {
		v := new(v1alpha1.Pipeline)
		err := json.Unmarshal(raw, v)
		if err != nil {
			p.log.Error("a pipeline cannot be read", "err", err)
			if v = p.unreadLocked(raw, err, former); v == nil {
				continue
			}
		}
		if sum := hashInputs(v, inputs); sum != "" {
			v.Annotations = maps.Clone(v.Annotations)
			if v.Annotations == nil {
				v.Annotations = make(map[string]string)
			}
			v.Annotations[v1alpha1.AnnotationInputs] = sum // it is opened again when that changes
		}
		ref := pipeline.Ref{Namespace: v.Namespace, Name: v.Name}
		p.uids[ref], p.all[ref] = string(v.UID), v
		list = append(list, v)
	}
	return list
}

// unreadLocked notes that a Pipeline cannot be read, for its status, and returns a copy of its
// former form; nil if there is none. It needs mu.
func (p *parts) unreadLocked(raw json.RawMessage, cause error, former map[pipeline.Ref]*v1alpha1.Pipeline) *v1alpha1.Pipeline {
	var head struct {
		Metadata struct {
			Namespace  string `json:"namespace"`
			Name       string `json:"name"`
			UID        string `json:"uid"`
			Generation int64  `json:"generation"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil // edgecore sends none like that
	}
	ref := pipeline.Ref{Namespace: head.Metadata.Namespace, Name: head.Metadata.Name}
	message := fmt.Sprintf("edgepipe %s on the node cannot read it: %v: if cloudcore is newer, install its release of the package edgekit-edgecore", program.Version(), cause)
	v := former[ref]
	if v != nil {
		message += "; its former form runs"
		own := *v
		v = &own
	}
	p.unread[ref] = wire.Report{UID: head.Metadata.UID, Generation: head.Metadata.Generation, State: wire.Failed, Failures: []wire.Failure{{
		Reason: v1alpha1.ReasonInvalid, Message: message, Time: time.Now(),
	}}}
	return v
}

// hashInputs is a hash of the inputs that a Pipeline names; empty if it names none.
func hashInputs(v *v1alpha1.Pipeline, inputs map[inputKey]wire.Input) string {
	var keys []inputKey
	for _, t := range v.Spec.Tables {
		if t.ConfigMapRef != nil {
			keys = append(keys, inputKey{wire.ConfigMap, v.Namespace, t.ConfigMapRef.Name})
		}
	}
	for _, s := range v.Spec.Sinks {
		if s.SecretRef != nil {
			keys = append(keys, inputKey{wire.Secret, v.Namespace, s.SecretRef.Name})
		}
	}
	if len(keys) == 0 {
		return ""
	}
	slices.SortFunc(keys, func(a, b inputKey) int { return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name)) })
	h := sha256.New()
	for _, key := range slices.Compact(keys) {
		in, ok := inputs[key]
		body, err := json.Marshal(in)
		fmt.Fprintf(h, "%s %s %t %v %d\n", key.kind, key.name, ok, err, len(body))
		h.Write(body)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// secret returns a Secret.
func (p *parts) secret(_ context.Context, namespace, name string) (map[string][]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	in, ok := p.inputs[inputKey{wire.Secret, namespace, name}]
	if !ok {
		return nil, fmt.Errorf("secret %s/%s is not on the node: see the condition %s of the Pipeline", namespace, name, v1alpha1.ConditionInputs)
	}
	return in.Data, nil
}

// table returns a key of a ConfigMap.
func (p *parts) table(_ context.Context, namespace, name, key string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	in, ok := p.inputs[inputKey{wire.ConfigMap, namespace, name}]
	if !ok {
		return "", fmt.Errorf("config map %s/%s is not on the node: see the condition %s of the Pipeline", namespace, name, v1alpha1.ConditionInputs)
	}
	if text, ok := in.Text[key]; ok {
		return text, nil
	}
	if data, ok := in.Data[key]; ok {
		return string(data), nil
	}
	return "", fmt.Errorf("config map %s/%s has no key %q", namespace, name, key)
}

// statuses are what edgecore gets.
func (p *parts) statuses(all []pipeline.Status) wire.Statuses {
	p.mu.Lock()
	uids, unread := p.uids, p.unread
	p.mu.Unlock()
	out := wire.Statuses{Version: program.Version(), Statuses: make([]wire.Status, 0, len(all)+len(unread))}
	for ref, r := range unread {
		out.Statuses = append(out.Statuses, wire.Status{Namespace: ref.Namespace, Name: ref.Name, Report: r})
	}
	for _, s := range all {
		uid, ok := uids[s.Ref]
		if _, bad := unread[s.Ref]; !ok || bad {
			continue // its Set has just been replaced, or it says so above
		}
		r := wire.Report{UID: uid, Generation: s.Generation, State: string(s.State)}
		for _, f := range s.Failures {
			r.Failures = append(r.Failures, wire.Failure{Step: f.Step, Reason: f.Reason, Message: f.Message, Event: f.Event, Count: f.Count, Time: f.Time.Time})
		}
		out.Statuses = append(out.Statuses, wire.Status{Namespace: s.Ref.Namespace, Name: s.Ref.Name, Report: r})
	}
	return out
}
