package credentialprovider

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/image"
)

// maxKept is how many answers of one provider are kept.
const maxKept = 1000

// Providers asks credential providers. Make one with New. It may be used by several
// goroutines.
type Providers struct {
	accounts Accounts
	log      *slog.Logger
	all      []*provider
}

// provider is one provider with what it answered.
type provider struct {
	Provider
	program string
	turn    chan struct{} // holds a value while the program runs

	mu   sync.Mutex
	kept map[string]answer // by what it is for
}

// answer is what a provider said, for as long as it counts.
type answer struct {
	byServer map[string]image.Credential
	until    time.Time
}

// New checks the configuration; it does no I/O.
func New(cfg Config) (*Providers, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	p := &Providers{accounts: cfg.Accounts, log: cfg.Logger}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	for _, one := range cfg.Providers {
		if one.TokenAttributes != nil && cfg.Accounts == nil {
			return nil, fmt.Errorf("credentialprovider: provider %q has tokenAttributes: Config.Accounts is required", one.Name)
		}
		p.all = append(p.all, &provider{Provider: one, program: filepath.Join(cfg.BinDir, one.Name), turn: make(chan struct{}, 1), kept: make(map[string]answer)})
	}
	return p, nil
}

// Credentials asks the providers of an image's registry, in their order, on behalf of a
// pod. Those that fail are named in the error, which comes with what the others gave.
func (p *Providers) Credentials(ctx context.Context, pod *corev1.Pod, ref image.Ref) ([]image.Credential, error) {
	var out []image.Credential
	var errs []error
	for _, one := range p.all {
		if !one.covers(ref) {
			continue
		}
		got, err := p.ask(ctx, one, pod, ref)
		if err != nil {
			errs = append(errs, fmt.Errorf("credentialprovider: provider %q: %w", one.Name, err))
			continue
		}
		out = append(out, got...)
	}
	return out, errors.Join(errs...)
}

// Sources lists on whose behalf the providers of an image's registry would be asked. It
// runs no program and needs no link: a pod keeps the images that its service account
// brought to the node.
func (p *Providers) Sources(ctx context.Context, pod *corev1.Pod, ref image.Ref) []image.Source {
	var out []image.Source
	for _, one := range p.all {
		if !one.covers(ref) {
			continue
		}
		if who, err := p.identify(ctx, one, pod); err == nil && who != nil && !slices.Contains(out, who.source) {
			out = append(out, who.source)
		}
	}
	return out
}

// covers reports whether a provider is asked about an image.
func (p *provider) covers(ref image.Ref) bool {
	return slices.ContainsFunc(p.MatchImages, func(m string) bool { return image.Covers(m, ref) })
}

// ask gets the credentials of one provider, kept ones if there are any.
func (p *Providers) ask(ctx context.Context, one *provider, pod *corev1.Pod, ref image.Ref) ([]image.Credential, error) {
	who, err := p.identify(ctx, one, pod)
	if err == nil && who != nil {
		err = p.authenticate(ctx, one, pod, who)
	}
	if err != nil || who == nil {
		return nil, err
	}
	name := ref.Registry + "/" + ref.Path
	byServer, ok := one.find(name, ref.Registry, who.key)
	if !ok {
		// One run at a time: what the one before us got may be for us too.
		select {
		case one.turn <- struct{}{}:
			defer func() { <-one.turn }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if byServer, ok = one.find(name, ref.Registry, who.key); !ok {
			if byServer, err = one.run(ctx, name, ref.Registry, who); err != nil {
				return nil, err
			}
		}
	}
	keys := image.Select(byServer, ref)
	for i := range keys {
		keys[i].Source = who.source
	}
	return keys, nil
}

// identity is on whose behalf a provider is asked.
type identity struct {
	source      image.Source
	token       string
	annotations map[string]string
	key         string // of answers; "" for those that are for all pods
}

// identify finds on whose behalf a provider is asked. It gives nil if the provider is not
// to be asked for this pod.
func (p *Providers) identify(ctx context.Context, one *provider, pod *corev1.Pod) (*identity, error) {
	node := &identity{source: image.Source{Kind: image.KindNode}}
	want := one.TokenAttributes
	if want == nil {
		return node, nil
	}
	name := ""
	if pod != nil {
		name = pod.Spec.ServiceAccountName
	}
	if name == "" { // a static pod
		if *want.RequireServiceAccount {
			return nil, nil
		}
		return node, nil
	}
	account, err := p.accounts.ServiceAccount(ctx, pod.Namespace, name)
	if err != nil {
		return nil, fmt.Errorf("failed to get service account: %w", err)
	}
	who := &identity{
		source:      image.Source{Kind: image.KindServiceAccount, UID: string(account.UID), Namespace: pod.Namespace, Name: name},
		annotations: make(map[string]string),
	}
	for _, key := range want.RequiredServiceAccountAnnotationKeys {
		value, ok := account.Annotations[key]
		if !ok { // the account does not ask for it
			p.log.Debug("a credential provider is not asked: the service account lacks an annotation", "provider", one.Name, "account", pod.Namespace+"/"+name, "annotation", key)
			return nil, nil
		}
		who.annotations[key] = value
	}
	for _, key := range want.OptionalServiceAccountAnnotationKeys {
		if value, ok := account.Annotations[key]; ok {
			who.annotations[key] = value
		}
	}
	return who, nil
}

// authenticate gets the token that a provider asks for with a service account.
func (p *Providers) authenticate(ctx context.Context, one *provider, pod *corev1.Pod, who *identity) error {
	if who.source.Kind != image.KindServiceAccount {
		return nil
	}
	want := one.TokenAttributes
	issued, err := p.accounts.Token(ctx, pod.Namespace, who.source.Name, &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		Audiences:      []string{want.ServiceAccountTokenAudience},
		BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}})
	if err != nil {
		return fmt.Errorf("failed to get service account token: %w", err)
	}
	who.token = issued.Status.Token
	who.key = who.hash(want.CacheType, string(pod.UID))
	return nil
}

// hash is the part of a key of kept answers that stands for the account, and, by the type
// of the cache, for the token.
func (i *identity) hash(cacheType, pod string) string {
	h := sha256.New()
	add := func(parts ...string) {
		for _, part := range parts {
			fmt.Fprintf(h, "%d:%s", len(part), part)
		}
	}
	add(i.source.UID, i.source.Namespace, i.source.Name)
	for _, key := range slices.Sorted(maps.Keys(i.annotations)) {
		add(key, i.annotations[key])
	}
	if cacheType == CacheByToken {
		add(pod, i.token)
	}
	return string(h.Sum(nil))
}

// The scopes of kept answers; none is a prefix of another.
func scopes(name, registry, who string) []string {
	return []string{"image/" + name + "/" + who, "registry/" + registry + "/" + who, "all/" + who}
}

// find looks for a kept answer.
func (p *provider) find(name, registry, who string) (map[string]image.Credential, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, key := range scopes(name, registry, who) {
		if a, ok := p.kept[key]; ok && time.Now().Before(a.until) {
			return a.byServer, true
		}
	}
	return nil, false
}

// keep keeps an answer, and forgets those that have ended, or one of them if there are
// too many.
func (p *provider) keep(key string, a answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	soonest := ""
	for k, old := range p.kept {
		if !now.Before(old.until) {
			delete(p.kept, k)
		} else if soonest == "" || old.until.Before(p.kept[soonest].until) {
			soonest = k
		}
	}
	if len(p.kept) >= maxKept {
		delete(p.kept, soonest)
	}
	p.kept[key] = a
}

// run runs the program, and keeps its answer for as long as that says.
func (p *provider) run(ctx context.Context, name, registry string, who *identity) (map[string]image.Credential, error) {
	request := request{Kind: "CredentialProviderRequest", APIVersion: p.APIVersion, Image: name, ServiceAccountToken: who.token, ServiceAccountAnnotations: who.annotations}
	got, err := p.exec(ctx, request)
	if err != nil {
		return nil, err
	}
	byServer := make(map[string]image.Credential, len(got.Auth))
	for server, a := range got.Auth {
		if who.token != "" && a.Password == who.token && p.TokenAttributes.CacheType != CacheByToken {
			return nil, fmt.Errorf("the answer has the service account's token as a password: set tokenAttributes.cacheType to %s", CacheByToken)
		}
		byServer[server] = image.Credential{Username: a.Username, Password: a.Password}
	}
	life := p.DefaultCacheDuration.Duration
	if got.CacheDuration != nil {
		life = got.CacheDuration.Duration
	}
	if life > 0 {
		all := scopes(name, registry, who.key)
		key := all[slices.Index(cacheKeyTypes(), got.CacheKeyType)]
		p.keep(key, answer{byServer: byServer, until: time.Now().Add(life)})
	}
	return byServer, nil
}
