package rules

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/edgekit/edgekit/bus/rules/v1"
	"github.com/edgekit/edgekit/bus/rules/wire"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/delivery"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/resources"
)

// newQueues makes the deliveries of nodes' messages.
func (c *Controller) newQueues() (*delivery.Queues, error) {
	return delivery.New(delivery.Config{
		Resources: []string{resources.RuleEvents}, Try: c.try,
		ConsumeResources: []string{resources.CustomMessages}, Consume: c.consume,
		Pending: "the target of the rule has not taken the message yet", Retry: c.cfg.Retry,
	})
}

// Inbox returns the Inbox of a node. Events of other resources go to next.
func (c *Controller) Inbox(node string, next hub.Inbox) hub.Inbox { return c.queues.Inbox(node, next) }

// consume passes a custom message to the program's consumer.
func (c *Controller) consume(ctx context.Context, node string, e hub.Event) error {
	if c.cfg.Messages == nil {
		return &hub.Error{Code: hub.CodeUnsupported, Text: "this cloud has no consumer of custom messages"}
	}
	m, err := wire.DecodeMessage(e.Body)
	if err != nil {
		return &hub.Error{Code: hub.CodeInvalid, Text: err.Error()}
	}
	return c.cfg.Messages(ctx, node, m)
}

// try sends one message once. nil means that it is done with: taken, given up, or nobody's.
func (c *Controller) try(ctx context.Context, node string, e hub.Event, since time.Time) error {
	name := cache.Name{Namespace: e.Key.Namespace, Name: e.Key.Name}
	body, err := wire.DecodeMessage(e.Body)
	if err != nil {
		c.statuses.dropped.Add(1)
		c.log.Warn("a message of a node cannot be read and is dropped", "node", node, "rule", e.Key.String(), "err", err)
		return nil
	}
	r := c.rule(name)
	if r == nil || r.node() != node {
		mine, err := c.stillOf(ctx, name, node)
		if err != nil || mine {
			return &delivery.SendError{Text: "the rule is not known yet"}
		}
		c.statuses.dropped.Add(1)
		c.log.Warn("a message of a node is dropped: it has no such rule", "node", node, "rule", e.Key.String())
		return nil
	}
	m := &message{Message: body, node: node, id: e.Source + "-" + strconv.FormatUint(e.ID, 10)}
	if r.ok() {
		err = c.targets.Send(ctx, func(ctx context.Context) (*http.Request, error) { return m.request(ctx, r) })
	} else {
		err = &delivery.SendError{Text: "the rule is not resolved: " + r.message}
	}
	switch {
	case err == nil:
		c.statuses.success(name, node)
		return nil
	case ctx.Err() != nil:
		return err
	}
	c.statuses.failure(name, node, err.Error())
	failed, ok := errors.AsType[*delivery.SendError](err)
	if ttl := r.ttl(); (!ok || !failed.Final) && time.Since(since) < ttl {
		return err
	}
	c.statuses.dead(name, v1.DeadLetter{
		Time: metav1.Now(), Node: node, ID: m.id, Topic: clip(m.Topic), Bytes: int64(len(m.Payload)), Reason: clip(err.Error()),
	})
	return nil
}

// stillOf asks the API server whether a Rule is of a node.
func (c *Controller) stillOf(ctx context.Context, name cache.Name, node string) (bool, error) {
	u, err := c.ruleClient(name.Namespace).Get(ctx, name.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsInvalid(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	rule, err := cache.Decode[v1.Rule](u)
	return err == nil && string(rule.Spec.SourceResource[v1.KeyNodeName]) == node, err
}
