package pipelines

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
	"github.com/edgekit/edgekit/controller/internal/cache"
)

// fieldManager is cloudcore's name in server-side apply.
const fieldManager = "edgekit-pipelines"

// maxConflicts is how often a write is tried again at once when another cloudcore was faster.
const maxConflicts = 4

// write writes the status of one Pipeline. The version that it starts from is a condition of the
// write, so that two cloudcores lose no counts of each other.
func (s *statuses) write(ctx context.Context, name cache.Name) error {
	for try := 0; ; try++ {
		p, err := s.c.get(ctx, name)
		if err != nil || p == nil {
			return err
		}
		before, err := json.Marshal(p.Status)
		if err != nil {
			return err
		}
		s.merge(p)
		after, err := json.Marshal(p.Status)
		if err != nil || string(before) == string(after) {
			return err
		}
		body, err := json.Marshal(map[string]any{
			"apiVersion": v1alpha1.GroupVersion().String(), "kind": v1alpha1.Kind,
			"metadata": map[string]any{"name": name.Name, "namespace": name.Namespace, "uid": p.UID, "resourceVersion": p.ResourceVersion},
			"status":   json.RawMessage(after),
		})
		if err != nil {
			return err
		}
		_, err = s.c.client(name.Namespace).Patch(ctx, name.Name, types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: fieldManager, Force: new(true)}, "status")
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case apierrors.IsConflict(err) && try < maxConflicts:
			continue
		}
		return err
	}
}

// merge brings the status of a Pipeline in line with what this cloudcore knows.
func (s *statuses) merge(p *v1alpha1.Pipeline) {
	st, name := &p.Status, nameOf(p)
	fresh := st.ObservedGeneration != p.Generation
	st.ObservedGeneration = p.Generation
	part := v1alpha1.StatusPart{Cloudcore: s.c.cfg.ID}
	here := make(map[string]bool)
	var failures []v1alpha1.Failure
	s.mu.Lock()
	if t := s.tallies[name]; t != nil && (t.uid == "" || t.uid == string(p.UID)) {
		part.Expired = t.expired
		for node, a := range t.nodes {
			here[node] = true
			switch {
			case a.state == wire.Failed:
				part.Failed++
			case a.state == wire.Running && a.generation == p.Generation:
				part.Running++
			}
		}
		failures = t.failures()
	}
	s.mu.Unlock()
	s.mergeParts(st, part)
	st.Nodes = 0
	s.c.eachNode(p, func(string) { st.Nodes++ })
	for _, f := range st.Failures {
		if !fresh && !here[f.Node] && !has(failures, f) && s.c.isFor(p, f.Node) {
			failures = append(failures, f)
		}
	}
	sortFailures(failures)
	st.Failures = failures[:min(len(failures), v1alpha1.MaxFailures)]
	for _, c := range s.conditions(p) {
		c.ObservedGeneration = p.Generation
		c.Message = wire.Clip(c.Message, 4*wire.MaxMessage)
		meta.SetStatusCondition(&st.Conditions, c)
	}
	if len(refsOf(p)) == 0 {
		meta.RemoveStatusCondition(&st.Conditions, v1alpha1.ConditionInputs)
	}
}

// has reports whether a list has a failure of the same node, step and reason.
func has(list []v1alpha1.Failure, f v1alpha1.Failure) bool {
	return slices.ContainsFunc(list, func(g v1alpha1.Failure) bool { return f.Node == g.Node && f.Step == g.Step && f.Reason == g.Reason })
}

// maxParts is the bound of the schema.
const maxParts = 64

// mergeParts puts this cloudcore's part in place, removes those of cloudcores that have gone,
// and adds up.
func (s *statuses) mergeParts(st *v1alpha1.PipelineStatus, own v1alpha1.StatusPart) {
	parts := slices.DeleteFunc(st.Parts, func(p v1alpha1.StatusPart) bool {
		return p.Cloudcore == own.Cloudcore || s.c.cfg.Gone != nil && s.c.cfg.Gone(p.Cloudcore)
	})
	if own.Running+own.Failed > 0 || own.Expired > 0 {
		parts = append(parts, own)
	}
	parts = parts[max(0, len(parts)-maxParts):]
	slices.SortFunc(parts, func(a, b v1alpha1.StatusPart) int { return cmp.Compare(a.Cloudcore, b.Cloudcore) })
	st.Parts, st.Running, st.Failed = parts, 0, 0
	for _, p := range parts {
		st.Running += p.Running
		st.Failed += p.Failed
	}
}

// eachNode calls f with each edge node that a Pipeline is for.
func (c *Controller) eachNode(p *v1alpha1.Pipeline, f func(node string)) {
	if p.Spec.NodeName != "" {
		if _, ok := c.labelsOf(p.Spec.NodeName); ok {
			f(p.Spec.NodeName)
		}
		return
	}
	selector, err := metav1.LabelSelectorAsSelector(p.Spec.NodeSelector)
	if err != nil {
		return
	}
	for _, n := range c.cfg.Nodes.Objects() {
		if selector.Matches(labels.Set(n.Labels)) {
			f(n.Name)
		}
	}
}

// conditions are those of a Pipeline whose counts are in place.
func (s *statuses) conditions(p *v1alpha1.Pipeline) []metav1.Condition {
	accepted := metav1.Condition{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonAccepted, Message: "the spec can be compiled"}
	if s.c.cfg.Check == nil {
		accepted.Message = "the spec has the form of the schema"
	} else if err := s.checkOnce(p); err != nil {
		accepted.Status, accepted.Reason, accepted.Message = metav1.ConditionFalse, v1alpha1.ReasonInvalid, err.Error()
	}
	all := []metav1.Condition{accepted, running(&p.Status)}
	if len(refsOf(p)) == 0 {
		return all
	}
	inputs := metav1.Condition{Type: v1alpha1.ConditionInputs, Status: metav1.ConditionTrue, Reason: reasonAvailable, Message: "the ConfigMaps and Secrets that it names can be read"}
	var messages []string
	for _, in := range s.c.inputs.unavailable(p) {
		inputs.Status, inputs.Reason = metav1.ConditionFalse, in.reason
		messages = append(messages, in.message)
	}
	if len(messages) > 0 {
		slices.Sort(messages)
		inputs.Message = strings.Join(messages, "; ")
	}
	return append(all, inputs)
}

// checkOnce is check, which takes a while, once for each generation.
func (s *statuses) checkOnce(p *v1alpha1.Pipeline) error {
	s.mu.Lock()
	t := s.tallies[nameOf(p)]
	if t != nil && t.uid == string(p.UID) && p.Generation != 0 && t.checked == p.Generation {
		defer s.mu.Unlock()
		return t.problem
	}
	s.mu.Unlock()
	err := s.check(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tallies[nameOf(p)]; t != nil && t.uid == string(p.UID) {
		t.checked, t.problem = p.Generation, err
	}
	return err
}

// check is Config.Check. Compilers of expressions, schemas and descriptors read what users write:
// a defect of one must not end cloudcore.
func (s *statuses) check(p *v1alpha1.Pipeline) (err error) {
	defer func() {
		if v := recover(); v != nil {
			s.c.log.Error("checking a pipeline panicked", "pipeline", p.Namespace+"/"+p.Name, "panic", v, "stack", string(debug.Stack()))
			err = errors.New("checking it failed by a defect of edgekit or of a library: cloudcore's log has the details")
		}
	}()
	return s.c.cfg.Check(p)
}

// running is the condition Running.
func running(st *v1alpha1.PipelineStatus) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionRunning, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonStarting}
	rest := st.Nodes - st.Running - st.Failed
	switch {
	case st.Nodes == 0:
		c.Reason, c.Message = v1alpha1.ReasonNoNodes, "no edge node is named or selected"
		return c
	case st.Failed > 0:
		c.Reason = "Failed"
		if i := slices.IndexFunc(st.Failures, func(f v1alpha1.Failure) bool { return f.Step == "" }); i >= 0 {
			c.Reason = st.Failures[i].Reason
		} else if len(st.Failures) > 0 {
			c.Reason = st.Failures[0].Reason
		}
	case st.Running >= st.Nodes:
		c.Status, c.Reason = metav1.ConditionTrue, v1alpha1.ReasonRunning
	}
	c.Message = fmt.Sprintf("%d of %d nodes run it", st.Running, st.Nodes)
	if st.Failed > 0 {
		c.Message += fmt.Sprintf(", %d cannot: see failures", st.Failed)
	}
	if rest > 0 {
		c.Message += fmt.Sprintf(", %d have no link or have not answered", rest)
	}
	return c
}
