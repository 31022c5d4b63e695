package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// connection is spec.protocol.configData of a Device. Community and the passwords are
// secretRefs in the Device; the SDK puts the secrets' texts in their place.
type connection struct {
	IP           string
	Port         int    // 0 means 161
	Version      string // 2c (default) or 3
	Community    string // of version 2c; empty means public
	Username     string // the rest is for version 3
	AuthProtocol string // SHA256 (default if there is a password), SHA512, SHA384, SHA224, SHA, MD5
	AuthPassword string
	PrivProtocol string // AES (default if there is a password), AES192, AES256, DES
	PrivPassword string
	ContextName  string
	Timeout      int // of a request, in milliseconds; 0 means 2000
	Retries      int // of a request that is not answered
	MaxOIDs      int // in one request; 0 means 60
}

// client makes the client of one agent.
func (c connection) client() (*gosnmp.GoSNMP, error) {
	switch {
	case c.IP == "":
		return nil, errors.New("ip is missing: set the address of the agent")
	case c.Port < 0 || c.Port > 65535:
		return nil, fmt.Errorf("port is %d: set 1 to 65535, or 0 for 161", c.Port)
	case c.Timeout < 0 || c.Retries < 0 || c.MaxOIDs < 0 || c.MaxOIDs > 500:
		return nil, errors.New("timeout, retries or maxOIDs is out of range: set no negative number, and 500 OIDs at most")
	}
	g := &gosnmp.GoSNMP{
		Target: c.IP, Port: uint16(c.Port), Transport: "udp", Community: c.Community,
		Timeout: time.Duration(c.Timeout) * time.Millisecond, Retries: c.Retries, MaxOids: c.MaxOIDs,
		ContextName: c.ContextName,
	}
	if g.Port == 0 {
		g.Port = 161
	}
	if g.Timeout == 0 {
		g.Timeout = 2 * time.Second
	}
	if g.MaxOids == 0 {
		g.MaxOids = gosnmp.MaxOids
	}
	if g.Community == "" {
		g.Community = "public"
	}
	switch c.Version {
	case "", "2c", "v2c":
		g.Version = gosnmp.Version2c
		return g, nil
	case "3", "v3":
		g.Version, g.SecurityModel = gosnmp.Version3, gosnmp.UserSecurityModel
		return g, c.secure(g)
	}
	return nil, fmt.Errorf("version is %q: set 2c or 3", c.Version)
}

// authProtocols and privProtocols give the library's numbers by the names of RFC 7860, 3414,
// 3826 and Blumenthal's draft.
func authProtocols() map[string]gosnmp.SnmpV3AuthProtocol {
	return map[string]gosnmp.SnmpV3AuthProtocol{
		"": gosnmp.SHA256, "MD5": gosnmp.MD5, "SHA": gosnmp.SHA, "SHA224": gosnmp.SHA224,
		"SHA256": gosnmp.SHA256, "SHA384": gosnmp.SHA384, "SHA512": gosnmp.SHA512,
	}
}

func privProtocols() map[string]gosnmp.SnmpV3PrivProtocol {
	return map[string]gosnmp.SnmpV3PrivProtocol{
		"": gosnmp.AES, "DES": gosnmp.DES, "AES": gosnmp.AES, "AES192": gosnmp.AES192, "AES256": gosnmp.AES256,
	}
}

// secure sets the user of version 3.
func (c connection) secure(g *gosnmp.GoSNMP) error {
	if c.Username == "" {
		return errors.New("username is missing: version 3 needs one")
	}
	user := &gosnmp.UsmSecurityParameters{UserName: c.Username, AuthenticationProtocol: gosnmp.NoAuth, PrivacyProtocol: gosnmp.NoPriv}
	g.SecurityParameters, g.MsgFlags = user, gosnmp.NoAuthNoPriv
	if c.AuthPassword == "" {
		if c.PrivPassword != "" {
			return errors.New("privPassword needs authPassword")
		}
		return nil
	}
	auth, ok := authProtocols()[strings.ToUpper(c.AuthProtocol)]
	if !ok {
		return fmt.Errorf("authProtocol is %q: set SHA256, SHA512, SHA384, SHA224, SHA or MD5", c.AuthProtocol)
	}
	if len(c.AuthPassword) < 8 || c.PrivPassword != "" && len(c.PrivPassword) < 8 {
		return errors.New("authPassword and privPassword need 8 characters or more: RFC 3414, 11.2")
	}
	user.AuthenticationProtocol, user.AuthenticationPassphrase, g.MsgFlags = auth, c.AuthPassword, gosnmp.AuthNoPriv
	if c.PrivPassword == "" {
		return nil
	}
	priv, ok := privProtocols()[strings.ToUpper(c.PrivProtocol)]
	if !ok {
		return fmt.Errorf("privProtocol is %q: set AES, AES192, AES256 or DES", c.PrivProtocol)
	}
	user.PrivacyProtocol, user.PrivacyPassphrase, g.MsgFlags = priv, c.PrivPassword, gosnmp.AuthPriv
	return nil
}

// point is visitors.configData of a property.
type point struct {
	OID  string // of the instance: a scalar's ends with .0
	Type string // of a write; empty means by the property's type: see value.go

	typ schema.Type
}

// newPoint reads the visitor of a property.
func newPoint(dev *device.Instance, p schema.Property) (*point, error) {
	if p.Visitors == nil {
		return nil, fmt.Errorf("property %s: visitors.configData is missing: set oid", p.Name)
	}
	pt := &point{typ: schema.TypeString}
	if err := p.Visitors.Config.Decode(pt); err != nil {
		return nil, fmt.Errorf("property %s: visitors.configData: %w", p.Name, err)
	}
	if !isOID(pt.OID) {
		return nil, fmt.Errorf("property %s: oid is %.80q: set one such as 1.3.6.1.2.1.1.3.0", p.Name, pt.OID)
	}
	pt.OID = "." + strings.TrimPrefix(pt.OID, ".") // as agents' answers have it
	if m := dev.Model.Property(p.Name); m != nil {
		pt.typ = m.Type
	}
	if _, err := pt.writeType(); err != nil {
		return nil, fmt.Errorf("property %s: %w", p.Name, err)
	}
	return pt, nil
}

// isOID reports whether a text is the OID of a variable: RFC 2578, 3.5.
func isOID(text string) bool {
	parts := strings.Split(strings.TrimPrefix(text, "."), ".")
	for _, part := range parts {
		if _, err := strconv.ParseUint(part, 10, 32); err != nil {
			return false
		}
	}
	return len(parts) >= 2 && len(parts) <= 128 && parts[0] <= "2"
}
