package kube

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/meta/resources"
)

// tokenArea holds tokens under the uid of the object that they are bound to,
// "-" for none: tokenArea + UID/NAMESPACE/SERVICEACCOUNT/HASH of the request.
const (
	tokenArea = meta.Local + "tokens/"
	unbound   = "-"
)

// storedToken is the value of a token's record.
type storedToken struct {
	Issued  time.Time                     `json:"issued"` // by this node's clock
	Asked   json.RawMessage               `json:"asked"`  // the TokenRequest that was sent
	Request authenticationv1.TokenRequest `json:"request"`
}

// refreshAt is when 80 % of a token's life are over, as the kubelet's token manager has
// it. It is counted by this node's clock from when the token came, since the cloud's
// clock may differ.
func (t storedToken) refreshAt() time.Time {
	life := time.Duration(0)
	if s := t.Request.Spec.ExpirationSeconds; s != nil {
		life = time.Duration(*s) * time.Second
	}
	if end := t.Request.Status.ExpirationTimestamp; life <= 0 && !end.IsZero() {
		life = end.Sub(t.Issued)
	}
	return t.Issued.Add(life / 5 * 4)
}

// due reports whether the token must be renewed. A token from the future must: the clock
// was set back.
func (t storedToken) due(now time.Time) bool {
	return now.Before(t.Issued) || !now.Before(t.refreshAt())
}

// Token gets a token for a service account: from the store until 80 % of its life are
// over, then from the cloud. While the cloud is out of reach the last one stays in use.
// It is no longer used after an error that wraps meta.ErrNotFound or is a refusal of the
// cloud.
func (c *Client) Token(ctx context.Context, namespace, serviceAccount string, req *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	if req == nil {
		req = &authenticationv1.TokenRequest{}
	}
	body, err := json.Marshal(authenticationv1.TokenRequest{Spec: req.Spec})
	if err != nil {
		return nil, fmt.Errorf("meta/kube: token request: %w", err)
	}
	key := tokenKey(namespace, serviceAccount, req.Spec, body)
	last, known, err := c.storedToken(ctx, key)
	if err != nil {
		return nil, err
	}
	if known && !last.due(c.cfg.Now()) {
		return &last.Request, nil
	}
	fresh, err := c.issue(ctx, key, namespace, serviceAccount, body)
	if err != nil && known && !final(err) {
		c.log.Warn("service account token is not refreshed; the last one stays in use", "namespace", namespace,
			"account", serviceAccount, "expires", last.Request.Status.ExpirationTimestamp.Time, "err", err)
		return &last.Request, nil
	}
	return fresh, err
}

// issue asks the cloud for a token, and stores it under key.
func (c *Client) issue(ctx context.Context, key, namespace, serviceAccount string, body []byte) (*authenticationv1.TokenRequest, error) {
	fresh := storedToken{Issued: c.cfg.Now(), Asked: body}
	account := meta.Key{Resource: resources.ServiceAccountToken, Namespace: namespace, Name: serviceAccount}
	answer, err := c.cfg.Manager.Query(ctx, meta.Object{Key: account, Body: body})
	if err != nil {
		return nil, wrap(account, err)
	}
	if err := jsonlimit.Unmarshal(answer.Body, &fresh.Request); err != nil || fresh.Request.Status.Token == "" {
		return nil, fmt.Errorf("meta/kube: %s: the cloud's answer has no token: %w", account, cmp.Or(err, errors.New("it is empty")))
	}
	value, err := json.Marshal(fresh)
	if err == nil {
		_, err = c.cfg.Store.Apply(ctx, meta.Op{Key: key, Value: value})
	}
	if err != nil {
		return nil, fmt.Errorf("meta/kube: store token: %w", err)
	}
	return &fresh.Request, nil
}

// refreshes is how many tokens are renewed at the same time.
const refreshes = 8

// renewTokens renews the tokens that are due. One that cannot be renewed stays in use.
func (c *Client) renewTokens(ctx context.Context) error {
	records, _, err := c.cfg.Store.List(ctx, tokenArea)
	if err != nil {
		return fmt.Errorf("meta/kube: %w", err)
	}
	var renewed atomic.Bool
	var g errgroup.Group
	g.SetLimit(refreshes)
	for _, r := range records {
		var t storedToken
		path := strings.Split(strings.TrimPrefix(r.Key, tokenArea), "/")
		if json.Unmarshal(r.Value, &t) != nil || len(t.Asked) == 0 || len(path) != 4 || !t.due(c.cfg.Now()) {
			continue
		}
		g.Go(func() error {
			if _, err := c.issue(ctx, r.Key, path[1], path[2], t.Asked); err != nil {
				c.log.Warn("service account token is not refreshed", "namespace", path[1], "account", path[2], "err", err)
				return nil
			}
			renewed.Store(true)
			return nil
		})
	}
	_ = g.Wait() // the functions return no error
	if renewed.Load() {
		c.refs.Publish(struct{}{})
	}
	return nil
}

// final reports whether the cloud itself refused: such an error has a method that says
// so, which an error of the link does not have.
func final(err error) bool {
	var f interface{ Final() bool }
	return errors.Is(err, meta.ErrNotFound) || errors.As(err, &f) && f.Final()
}

func tokenKey(namespace, account string, spec authenticationv1.TokenRequestSpec, body []byte) string {
	uid := unbound
	if ref := spec.BoundObjectRef; ref != nil && ref.UID != "" {
		uid = string(ref.UID)
	}
	sum := sha256.Sum256(body)
	return tokenArea + strings.Join([]string{uid, namespace, account, hex.EncodeToString(sum[:8])}, "/")
}

func (c *Client) storedToken(ctx context.Context, key string) (storedToken, bool, error) {
	r, err := c.cfg.Store.Get(ctx, key)
	if errors.Is(err, meta.ErrNotFound) {
		return storedToken{}, false, nil
	}
	if err != nil {
		return storedToken{}, false, fmt.Errorf("meta/kube: %w", err)
	}
	var t storedToken
	if err := json.Unmarshal(r.Value, &t); err != nil {
		c.log.Warn("stored token cannot be read", "key", key, "err", err)
		return storedToken{}, false, nil
	}
	return t, true, nil
}

// dropCredentials removes the tokens that are bound to the object with the uid, and the
// certificates and the release of the pod.
func (c *Client) dropCredentials(ctx context.Context, uid string) error {
	if uid == "" {
		return nil
	}
	all := func(string) bool { return true }
	return errors.Join(c.removeRecords(ctx, tokenArea+uid+"/", all), c.removeRecords(ctx, certificateArea+uid+"/", all),
		c.removeRecords(ctx, releaseArea+uid, func(key string) bool { return key == releaseArea+uid }))
}

// sweepCredentials removes the tokens and certificates of pods that were removed while
// Run did not run.
func (c *Client) sweepCredentials(ctx context.Context) error {
	there := map[string]bool{unbound: true}
	for _, pod := range c.pods {
		there[string(pod.UID)] = true
		there[pod.Annotations[corev1.MirrorPodAnnotationKey]] = true // the static pod that it shows
	}
	gone := func(area string) func(string) bool {
		return func(key string) bool {
			uid, _, _ := strings.Cut(strings.TrimPrefix(key, area), "/")
			return !there[uid]
		}
	}
	return errors.Join(c.removeRecords(ctx, tokenArea, gone(tokenArea)), c.removeRecords(ctx, certificateArea, gone(certificateArea)),
		c.removeRecords(ctx, releaseArea, gone(releaseArea)), c.sweepAccounts(ctx))
}

func (c *Client) removeRecords(ctx context.Context, prefix string, gone func(key string) bool) error {
	records, _, err := c.cfg.Store.Keys(ctx, prefix)
	if err != nil {
		return err
	}
	var ops []meta.Op
	for _, r := range records {
		if gone(r.Key) {
			ops = append(ops, meta.Op{Key: r.Key, Delete: true})
		}
	}
	if len(ops) == 0 {
		return nil
	}
	_, err = c.cfg.Store.Apply(ctx, ops...)
	return err
}
