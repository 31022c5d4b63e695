package join

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"time"
)

// Authorities are the certificate authorities of one cloud, also during a rotation, in
// which one takes over from another. Outside a rotation there is only the Issuer. A value
// does not change; each stage of a rotation returns a new one:
//
//	Publish  a new authority is made known; nodes learn to trust it
//	Switch   it signs from now on; what the one before signed stays good
//	Retire   what the one before signed is good only to be renewed
//	Forget   it is good for nothing: a node that has nothing else joins again
//
// A new authority comes with a bridge, its certificate signed by the one before, which
// servers show. So a node that was offline from before Publish until after Retire can
// still connect with the authority that it knows, until that expires or is forgotten.
type Authorities struct {
	Issuer  *CA                 // signs; required
	Next    *CA                 // is published and does not sign yet; nil outside a rotation
	Trusted []*x509.Certificate // of issuers before, still trusted
	Retired []*x509.Certificate // of issuers before, trusted for renewal alone
	Bridges []*x509.Certificate // of successors' keys, signed by their predecessors
}

// Publish adds next as the authority that nodes learn to trust. It returns an ErrStage if
// another one is published already. An Issuer whose certificate allows no authority below
// itself (pathlen 0) cannot make a bridge: then nodes that are offline until after Retire
// have to join again, see Bridged.
func (a Authorities) Publish(next *CA, now time.Time) (Authorities, error) {
	if a.Next != nil {
		return a, fmt.Errorf("%w: %s is published already: switch to it, or forget it", ErrStage, a.Next.Pin())
	}
	if a.stage(next.Pin()) != "" {
		return a, fmt.Errorf("%w: %s is an authority of this cloud already: give a new one", ErrStage, next.Pin())
	}
	if err := next.Check(now); err != nil {
		return a, err
	}
	bridge, err := a.Issuer.vouch(next, now)
	if err != nil {
		return a, err
	}
	if bridge != nil {
		a.Bridges = append(slices.Clone(a.Bridges), bridge)
	}
	a.Next = next
	return a, nil
}

// vouch signs another authority's certificate; it returns nil if ca may not sign
// authorities.
func (ca *CA) vouch(next *CA, now time.Time) (*x509.Certificate, error) {
	if ca.cert.MaxPathLen == 0 && ca.cert.MaxPathLenZero {
		return nil, nil
	}
	end := next.cert.NotAfter
	if ca.cert.NotAfter.Before(end) {
		end = ca.cert.NotAfter
	}
	return sign(&x509.Certificate{
		RawSubject: next.cert.RawSubject, SubjectKeyId: next.cert.SubjectKeyId,
		NotBefore: now.Add(-skew), NotAfter: end,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, ca.cert, next.key.Public(), ca.key)
}

// Bridged reports whether nodes that know only the Issuer will accept what Next
// signs.
func (a Authorities) Bridged() bool {
	return a.Next != nil && slices.ContainsFunc(a.Bridges, func(b *x509.Certificate) bool { return KeyHash(b) == a.Next.Pin() })
}

// Switch makes Next the Issuer. The key of the issuer before is not kept. It returns an
// ErrStage if no authority is published.
func (a Authorities) Switch() (Authorities, error) {
	if a.Next == nil {
		return a, fmt.Errorf("%w: no new authority is published: publish one first", ErrStage)
	}
	a.Trusted = append(slices.Clone(a.Trusted), a.Issuer.cert)
	a.Issuer, a.Next = a.Next, nil
	return a, nil
}

// Retire ends the trust in all issuers before, except for renewals. It returns
// an ErrStage if there are none.
func (a Authorities) Retire() (Authorities, error) {
	if len(a.Trusted) == 0 {
		return a, fmt.Errorf("%w: there is no earlier authority to retire: switch to a new one first", ErrStage)
	}
	a.Retired = append(slices.Clone(a.Retired), a.Trusted...)
	a.Trusted = nil
	return a, nil
}

// Forget removes the authority with that pin, whatever its stage: what it signed is no
// longer trusted. It returns an ErrStage for the Issuer and for an unknown pin.
func (a Authorities) Forget(pin string) (Authorities, error) {
	if pin == a.Issuer.Pin() {
		return a, fmt.Errorf("%w: %s signs now: switch to another one first", ErrStage, pin)
	}
	is := func(c *x509.Certificate) bool { return KeyHash(c) == pin }
	var gone *x509.Certificate
	for _, c := range a.all() {
		if is(c) {
			gone = c
		}
	}
	if gone == nil {
		return a, fmt.Errorf("%w: no authority has the pin %s", ErrStage, pin)
	}
	a.Trusted = slices.DeleteFunc(slices.Clone(a.Trusted), is)
	a.Retired = slices.DeleteFunc(slices.Clone(a.Retired), is)
	a.Bridges = slices.DeleteFunc(slices.Clone(a.Bridges), func(b *x509.Certificate) bool {
		return is(b) || b.CheckSignatureFrom(gone) == nil
	})
	if a.Next != nil && a.Next.Pin() == pin {
		a.Next = nil
	}
	return a, nil
}

// Bundle is what nodes trust: the Issuer first, then Next, then the Trusted.
func (a Authorities) Bundle() []*x509.Certificate {
	out := []*x509.Certificate{a.Issuer.cert}
	if a.Next != nil {
		out = append(out, a.Next.cert)
	}
	return append(out, a.Trusted...)
}

// all is the Bundle and the Retired.
func (a Authorities) all() []*x509.Certificate { return append(a.Bundle(), a.Retired...) }

// shown is the chain that a server sends after its own certificate: the Issuer, and the
// bridges to it from every authority that a machine may know.
func (a Authorities) shown() []*x509.Certificate {
	out := []*x509.Certificate{a.Issuer.cert}
	for _, b := range a.Bridges {
		if a.Next == nil || KeyHash(b) != a.Next.Pin() {
			out = append(out, b)
		}
	}
	// A token may carry the pin of an earlier issuer.
	return append(append(out, a.Trusted...), a.Retired...)
}

// Authority is one of Authorities, as List returns it.
type Authority struct {
	Stage       string // "issuer", "next", "trusted" or "retired"
	Pin         string
	Certificate *x509.Certificate
}

// List returns all authorities, the Issuer first.
func (a Authorities) List() []Authority {
	var out []Authority
	for _, c := range a.all() {
		out = append(out, Authority{Stage: a.stage(KeyHash(c)), Pin: KeyHash(c), Certificate: c})
	}
	return out
}

func (a Authorities) stage(pin string) string {
	has := func(list []*x509.Certificate) bool {
		return slices.ContainsFunc(list, func(c *x509.Certificate) bool { return KeyHash(c) == pin })
	}
	switch {
	case a.Issuer.Pin() == pin:
		return "issuer"
	case a.Next != nil && a.Next.Pin() == pin:
		return "next"
	case has(a.Trusted):
		return "trusted"
	case has(a.Retired):
		return "retired"
	}
	return ""
}

// The names under which Authorities are stored. The first two are those of a
// Secret of the type kubernetes.io/tls.
const (
	fileCert    = "tls.crt"
	fileKey     = "tls.key"
	fileNext    = "next.crt"
	fileNextKey = "next.key"
	fileTrusted = "trusted.crt"
	fileRetired = "retired.crt"
	fileBridges = "bridges.crt"
)

// Files returns the authorities as PEM by file name, keys included: keep them secret.
// tls.crt and tls.key are the Issuer's; other files exist if there is something to store
// in them.
func (a Authorities) Files() (map[string][]byte, error) {
	key, err := a.Issuer.KeyPEM()
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{fileCert: a.Issuer.CertificatePEM(), fileKey: key}
	if a.Next != nil {
		if out[fileNextKey], err = a.Next.KeyPEM(); err != nil {
			return nil, err
		}
		out[fileNext] = a.Next.CertificatePEM()
	}
	for name, list := range map[string][]*x509.Certificate{fileTrusted: a.Trusted, fileRetired: a.Retired, fileBridges: a.Bridges} {
		if len(list) > 0 {
			out[name] = encodeCerts(list)
		}
	}
	return out, nil
}

// ParseAuthorities reads what Files returned. Errors are ErrCA with the file's name.
func ParseAuthorities(files map[string][]byte) (Authorities, error) {
	var a Authorities
	var err error
	if a.Issuer, err = LoadCA(files[fileCert], files[fileKey]); err != nil {
		return Authorities{}, fmt.Errorf("%s and %s: %w", fileCert, fileKey, err)
	}
	if len(files[fileNext]) > 0 {
		if a.Next, err = LoadCA(files[fileNext], files[fileNextKey]); err != nil {
			return Authorities{}, fmt.Errorf("%s and %s: %w", fileNext, fileNextKey, err)
		}
	}
	for name, list := range map[string]*[]*x509.Certificate{fileTrusted: &a.Trusted, fileRetired: &a.Retired, fileBridges: &a.Bridges} {
		if *list, err = parseCerts(files[name]); err != nil {
			return Authorities{}, fmt.Errorf("%s: %w: %w", name, ErrCA, err)
		}
	}
	return a, nil
}

func encodeCerts(list []*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range list {
		b.Write(encodePEM(pemCertificate, c.Raw))
	}
	return b.Bytes()
}

// parseCerts reads certificates of authorities; other blocks are skipped.
func parseCerts(b []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			return out, nil
		}
		if block.Type != pemCertificate {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if !c.IsCA {
			return nil, fmt.Errorf("the certificate of %q is not an authority's", c.Subject)
		}
		out = append(out, c)
	}
}

func poolOf(list []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range list {
		pool.AddCert(c)
	}
	return pool
}
