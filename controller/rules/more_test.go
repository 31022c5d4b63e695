package rules_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/edgekit/edgekit/bus/rules/v1"
	"github.com/edgekit/edgekit/bus/rules/wire"
	"github.com/edgekit/edgekit/controller/rules"
)

var listAll = metav1.ListOptions{}

func consumer(mu *sync.Mutex, got *[]string) func(context.Context, string, wire.Message) error {
	failed := false
	return func(_ context.Context, node string, m wire.Message) error {
		mu.Lock()
		defer mu.Unlock()
		if !failed {
			failed = true
			return errors.New("not now") // it comes again, and once
		}
		*got = append(*got, node+" "+m.Topic+" "+string(m.Payload))
		return nil
	}
}

func resolvedIs(t *testing.T, c *cluster, name string, status metav1.ConditionStatus, reason string) {
	t.Helper()
	eventually(t, func() error {
		got := meta.FindStatusCondition(c.rule(t, name).Status.Conditions, v1.ConditionResolved)
		if got == nil || got.Status != status || got.Reason != reason {
			return fmt.Errorf("%s: condition %+v, want %s %s", name, got, status, reason)
		}
		return nil
	})
}

// TestResolved: a rule's condition says why it is not in force, and follows its endpoints.
func TestResolved(t *testing.T) {
	c := newCluster(t)
	path := func(p v1.Setting) map[string]v1.Setting { return map[string]v1.Setting{"path": p} }
	c.put(t, "rules", newRule("first", "cloud", path("/a/{x}"), "floor", path("/")))
	newCloud(t, c, nil)
	resolvedIs(t, c, "first", metav1.ConditionFalse, v1.ReasonNoEndpoint)
	c.put(t, "ruleendpoints", endpoint("cloud", v1.Rest, nil))
	c.put(t, "ruleendpoints", endpoint("floor", v1.ServiceBus, nil))
	resolvedIs(t, c, "first", metav1.ConditionFalse, v1.ReasonServicePortNone)
	c.put(t, "ruleendpoints", endpoint("floor", v1.ServiceBus, map[string]v1.Setting{v1.PropertyPort: "80"}))
	resolvedIs(t, c, "first", metav1.ConditionTrue, v1.ReasonResolved)
	c.put(t, "rules", newRule("second", "cloud", path("a/{y}/"), "floor", path("/")))
	resolvedIs(t, c, "second", metav1.ConditionFalse, v1.ReasonPathTaken)
	c.put(t, "rules", newRule("third", "floor", path("/b"), "floor", path("/")))
	resolvedIs(t, c, "third", metav1.ConditionFalse, v1.ReasonWrongType)
	c.put(t, "rules", newRule("fourth", "cloud", path("/c"), "floor", map[string]v1.Setting{"resource": "http://x/"}))
	resolvedIs(t, c, "fourth", metav1.ConditionFalse, v1.ReasonInvalid)
	c.remove(t, "rules", "first")
	resolvedIs(t, c, "second", metav1.ConditionTrue, v1.ReasonResolved)
	c.remove(t, "ruleendpoints", "cloud")
	resolvedIs(t, c, "second", metav1.ConditionFalse, v1.ReasonNoEndpoint)
}

// TestRulesChangeAtOnce: a rule that is made, changed or removed counts on its node at once,
// and on one that was away as soon as it is back. Messages of a rule that was taken away for
// a while are kept.
func TestRulesChangeAtOnce(t *testing.T) {
	c, target := newCluster(t), newSite(t)
	c.put(t, "ruleendpoints", endpoint("mqtt", v1.EventBus, nil))
	c.put(t, "ruleendpoints", endpoint("erp", v1.Rest, nil))
	cc := newCloud(t, c, nil)
	n := newNode(t, cc, "edge-7", nil, nil)
	n.connected(t)
	rule := func(topic, node string) *v1.Rule {
		return newRule("up", "mqtt", map[string]v1.Setting{"topic": v1.Setting(topic), "node_name": v1.Setting(node)}, "erp", map[string]v1.Setting{"resource": v1.Setting(target.URL)})
	}
	takes := func(topic string) {
		t.Helper()
		target.forget()
		eventually(t, func() error { // the node learns of the change while we publish
			n.mqttPublish(t, topic, topic)
			if !strings.Contains(strings.Join(target.bodies(), " "), topic) {
				return fmt.Errorf("no message of %s arrives", topic)
			}
			return nil
		})
	}
	c.put(t, "rules", rule("one", "edge-7"))
	takes("plant/one")
	c.put(t, "rules", rule("two", "edge-7"))
	takes("plant/two")
	cc.net.Refuse(true)
	cc.net.Cut("edge-7")
	eventually(t, func() error {
		if n.link.Info().Connected {
			return errors.New("still connected")
		}
		return nil
	})
	c.put(t, "rules", rule("three", "edge-7")) // while it is away
	cc.net.Refuse(false)
	takes("plant/three")
	c.put(t, "rules", rule("three", "edge-8"))
	n.holds(t, 0)
	c.put(t, "rules", rule("three", "edge-7"))
	n.holds(t, 1)
	c.remove(t, "ruleendpoints", "erp")
	n.holds(t, 0)
	c.put(t, "ruleendpoints", endpoint("erp", v1.Rest, nil))
	takes("plant/three")
	c.remove(t, "rules", "up")
	n.holds(t, 0)
}

// TestDeadLetters: a message that the target does not take within the rule's ttl is given
// up, is in the status, and the next one goes. Other rules of the node do not wait.
func TestDeadLetters(t *testing.T) {
	c, target, other := newCluster(t), newSite(t), newSite(t)
	c.put(t, "ruleendpoints", endpoint("mqtt", v1.EventBus, nil))
	c.put(t, "ruleendpoints", endpoint("erp", v1.Rest, nil))
	from := func(topic string) map[string]v1.Setting {
		return map[string]v1.Setting{"topic": v1.Setting(topic), "node_name": "edge-7"}
	}
	once := newRule("once", "mqtt", from("once"), "erp", map[string]v1.Setting{"resource": v1.Setting(target.URL)})
	once.Spec.TTL = &metav1.Duration{}
	c.put(t, "rules", once)
	c.put(t, "rules", newRule("stuck", "mqtt", from("stuck"), "erp", map[string]v1.Setting{"resource": v1.Setting(target.URL)}))
	c.put(t, "rules", newRule("free", "mqtt", from("free"), "erp", map[string]v1.Setting{"resource": v1.Setting(other.URL)}))
	c.mu.Lock()
	c.clash = 2
	c.mu.Unlock()
	cc := newCloud(t, c, nil)
	n := newNode(t, cc, "edge-7", nil, nil)
	n.holds(t, 3)
	target.set(500, nil)
	n.mqttPublish(t, "plant/stuck", "s")
	n.mqttPublish(t, "plant/once", "a")
	n.mqttPublish(t, "plant/once", "b")
	n.mqttPublish(t, "plant/free", "f")
	eventually(t, func() error { return equal(other.bodies(), []string{"f"}) })
	eventually(t, func() error { return waiting(n, 1) })
	eventually(t, func() error {
		st := c.rule(t, "once").Status
		if st.DeadLetterMessages != 2 || len(st.DeadLetters) != 2 || st.FailMessages != 2 || st.SuccessMessages != 0 || st.LastError == nil || len(st.Errors) != 1 ||
			len(st.PerNode) != 1 || st.PerNode[0].Node != "edge-7" || st.PerNode[0].FailMessages != 2 {
			return fmt.Errorf("status %+v", st)
		}
		if d := st.DeadLetters[0]; d.Topic != "plant/once" || d.Bytes != 1 || d.Node != "edge-7" || !strings.Contains(d.Reason, "500") {
			return fmt.Errorf("dead letter %+v", d)
		}
		return nil
	})
	eventually(t, func() error {
		if st := c.rule(t, "free").Status; st.SuccessMessages != 1 || st.FailMessages != 0 {
			return fmt.Errorf("status %+v", st)
		}
		return nil
	})
	target.set(200, nil)
	eventually(t, func() error { return waiting(n, 0) })
}

// TestOtherNodesRules: a node has no part in a rule of another.
func TestOtherNodesRules(t *testing.T) {
	c, target := newCluster(t), newSite(t)
	c.put(t, "ruleendpoints", endpoint("local", v1.ServiceBus, nil))
	c.put(t, "ruleendpoints", endpoint("mqtt", v1.EventBus, nil))
	c.put(t, "ruleendpoints", endpoint("erp", v1.Rest, nil))
	c.put(t, "rules", newRule("mine", "mqtt", map[string]v1.Setting{"topic": "x", "node_name": "edge-1"}, "erp", map[string]v1.Setting{"resource": v1.Setting(target.URL)}))
	cc := newCloud(t, c, nil)
	inbox := cc.Inbox("edge-2", nil)
	m := wire.Message{Topic: "plant/x", Payload: []byte("forged")}
	err := inbox.Append(t.Context(), "s", event("mine", 1, m.Encode()))
	if err != nil || len(target.requests()) != 0 {
		t.Errorf("a forged message: %v, %q", err, target.requests())
	}
	if err := inbox.Append(t.Context(), "s", event("none", 2, m.Encode())); err != nil {
		t.Errorf("a message of no rule: %v", err)
	}
	if err := inbox.Append(t.Context(), "s", event("mine", 3, []byte("\xff"))); err != nil {
		t.Errorf("a message that cannot be read: %v", err)
	}
	obj, err := cc.Source("edge-2").Load(t.Context(), key("mine"), "")
	if err != nil || !obj.Deleted {
		t.Errorf("loaded %+v, %v", obj, err)
	}
	if got := c.rule(t, "mine").Status; got.DeadLetterMessages != 0 || got.FailMessages != 0 {
		t.Errorf("a foreign node counts in the status: %+v", got)
	}
}

// TestKill: a node that is stopped and started again on its store loses no message and sends
// none twice.
func TestKill(t *testing.T) {
	c, target := newCluster(t), newSite(t)
	c.put(t, "ruleendpoints", endpoint("mqtt", v1.EventBus, nil))
	c.put(t, "ruleendpoints", endpoint("erp", v1.Rest, nil))
	c.put(t, "rules", newRule("up", "mqtt", map[string]v1.Setting{"topic": "n", "node_name": "edge-7"}, "erp", map[string]v1.Setting{"resource": v1.Setting(target.URL)}))
	cc := newCloud(t, c, nil)
	n := newNode(t, cc, "edge-7", nil, nil)
	n.holds(t, 1)
	var want []string
	for round := range 4 {
		cc.net.Refuse(round%2 == 0)
		for i := range 10 {
			want = append(want, fmt.Sprintf("%d.%d", round, i))
			n.mqttPublish(t, "plant/n", want[len(want)-1])
		}
		eventually(t, func() error { // all are stored
			if got := n.Stats().Queued; got != 10 {
				return fmt.Errorf("%d stored", got)
			}
			return nil
		})
		n.stop()
		n = newNode(t, cc, "edge-7", n.store, nil)
		n.holds(t, 1)
	}
	cc.net.Refuse(false)
	eventually(t, func() error { return waiting(n, 0) })
	if err := equal(target.bodies(), want); err != nil {
		t.Error(err)
	}
}

// TestExpired: a message whose time is over before its node is back becomes a dead letter.
func TestExpired(t *testing.T) {
	c := newCluster(t)
	c.put(t, "ruleendpoints", endpoint("cloud", v1.Rest, nil))
	c.put(t, "ruleendpoints", endpoint("mqtt", v1.EventBus, nil))
	c.put(t, "rules", newRule("a", "cloud", map[string]v1.Setting{"path": "/a"}, "mqtt", map[string]v1.Setting{"topic": "test"}))
	cc := newCloud(t, c, nil)
	if got := call(t, http.MethodPost, cc.url+"/edge-7/plant/a", "x", bearer(alice), "Prefer: respond-async, wait=0"); got.status != http.StatusAccepted {
		t.Fatalf("answered %+v", got)
	}
	newCloud(t, c, func(cfg *rules.Config) { cfg.Entry = nil }) // each looks when it starts
	eventually(t, func() error {
		if st := c.rule(t, "a").Status; st.DeadLetterMessages != 1 || len(st.DeadLetters) != 1 {
			return fmt.Errorf("status %+v", st)
		}
		return nil
	})
}

// TestSlowTarget: a target that hangs holds up neither Append nor the node's other events.
func TestSlowTarget(t *testing.T) {
	c, target := newCluster(t), newSite(t)
	release := make(chan struct{})
	target.set(0, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
			w.WriteHeader(http.StatusOK)
		case <-r.Context().Done():
		}
	})
	c.put(t, "ruleendpoints", endpoint("mqtt", v1.EventBus, nil))
	c.put(t, "ruleendpoints", endpoint("erp", v1.Rest, nil))
	c.put(t, "rules", newRule("up", "mqtt", map[string]v1.Setting{"topic": "n", "node_name": "edge-7"}, "erp", map[string]v1.Setting{"resource": v1.Setting(target.URL)}))
	cc := newCloud(t, c, nil)
	n := newNode(t, cc, "edge-7", nil, nil)
	n.holds(t, 1)
	n.mqttPublish(t, "plant/n", "slow")
	eventually(t, func() error {
		if len(target.requests()) != 1 {
			return errors.New("not sent")
		}
		return nil
	})
	inbox := cc.Inbox("edge-7", nil)
	var waited sync.WaitGroup
	defer waited.Wait()
	waited.Go(func() {
		m := wire.Message{Topic: "plant/n", Payload: []byte("second")}
		if err := inbox.Append(t.Context(), "other queue", event("up", 1, m.Encode())); err == nil {
			t.Error("a message is acknowledged before its target has it")
		}
	})
	waited.Wait()
	close(release)
	eventually(t, func() error { return waiting(n, 0) })
}
