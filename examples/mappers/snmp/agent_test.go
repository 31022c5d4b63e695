package main

import (
	"bytes"
	"encoding/binary"
	"net"
	"sync"
	"testing"

	"github.com/gosnmp/gosnmp"
)

// engineID is the agent's, by RFC 3411: an enterprise, "text", and a text.
const engineID = "\x80\x00\x1f\x88\x04simulator"

// unknownEngineIDs is usmStatsUnknownEngineIDs, which a report to a discovery has.
const unknownEngineIDs = ".1.3.6.1.6.3.15.1.1.4.0"

// agent is an SNMP agent in memory: versions 2c and 3, GET and SET.
type agent struct {
	conn   net.PacketConn
	parser *gosnmp.GoSNMP
	user   *gosnmp.UsmSecurityParameters // nil for version 2c

	mu       sync.Mutex
	values   map[string]gosnmp.SnmpPDU
	quiet    bool // answer nothing
	lie      bool // answer rubbish
	requests int
	salt     uint64
}

func startAgent(t *testing.T, user *gosnmp.UsmSecurityParameters) *agent {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{conn: conn, user: user, parser: &gosnmp.GoSNMP{Version: gosnmp.Version2c}}
	if user != nil {
		user.AuthoritativeEngineID = engineID
		a.parser.Version, a.parser.SecurityModel, a.parser.SecurityParameters = gosnmp.Version3, gosnmp.UserSecurityModel, user.Copy()
	}
	a.reset()
	var serving sync.WaitGroup
	serving.Go(a.serve)
	t.Cleanup(func() {
		conn.Close()
		serving.Wait()
	})
	return a
}

// port is where the agent listens.
func (a *agent) port() int { return a.conn.LocalAddr().(*net.UDPAddr).Port }

// reset sets factory values.
func (a *agent) reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.values = make(map[string]gosnmp.SnmpPDU)
	for _, v := range []gosnmp.SnmpPDU{
		{Name: ".1.3.6.1.2.1.1.3.0", Type: gosnmp.TimeTicks, Value: uint32(4711)},
		{Name: ".1.3.6.1.2.1.1.6.0", Type: gosnmp.OctetString, Value: []byte("")},
		{Name: ".1.3.6.1.2.1.31.1.1.1.6.1", Type: gosnmp.Counter64, Value: uint64(1) << 40},
		{Name: ".1.3.6.1.2.1.2.2.1.6.1", Type: gosnmp.OctetString, Value: []byte{0, 1, 2, 0xff, 0xfe, 5}},
		{Name: ".1.3.6.1.2.1.33.1.9.8.0", Type: gosnmp.Integer, Value: 1},
	} {
		a.values[v.Name] = v
	}
}

func (a *agent) set(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

func (a *agent) value(oid string) any {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.values[oid].Value
}

func (a *agent) serve() {
	buf := make([]byte, 65536)
	for {
		n, from, err := a.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		a.mu.Lock()
		quiet, lie := a.quiet, a.lie
		a.requests++
		a.mu.Unlock()
		answer := []byte("rubbish")
		if !lie {
			answer = a.answer(bytes.Clone(buf[:n])) // values stay in it
		}
		if quiet || answer == nil {
			continue
		}
		if _, err := a.conn.WriteTo(answer, from); err != nil {
			return
		}
	}
}

// answer is the message that answers one; nil if the agent says nothing to it.
func (a *agent) answer(message []byte) []byte {
	in, err := a.parser.UnmarshalTrap(message, true)
	if err != nil {
		return nil // also a wrong password
	}
	out := &gosnmp.SnmpPacket{
		Version: in.Version, Community: in.Community, PDUType: gosnmp.GetResponse, RequestID: in.RequestID,
		MsgID: in.MsgID, ContextEngineID: engineID, ContextName: in.ContextName,
	}
	if in.Version == gosnmp.Version2c && in.Community != "public" {
		return nil
	}
	if in.Version == gosnmp.Version3 {
		if !a.secure(in, out) {
			return nil
		}
	}
	if out.PDUType == gosnmp.GetResponse {
		a.do(in, out)
	}
	raw, err := out.MarshalMsg()
	if err != nil {
		return nil
	}
	return raw
}

// secure sets the answer's security, as the request has it. A discovery is answered with a
// report: RFC 3414, 4.
func (a *agent) secure(in, out *gosnmp.SnmpPacket) bool {
	asked, ok := in.SecurityParameters.(*gosnmp.UsmSecurityParameters)
	if !ok || a.user == nil {
		return false
	}
	own := a.user.Copy().(*gosnmp.UsmSecurityParameters)
	own.AuthoritativeEngineBoots, own.AuthoritativeEngineTime = 1, 100
	out.SecurityModel, out.SecurityParameters = gosnmp.UserSecurityModel, own
	if asked.AuthoritativeEngineID == "" {
		own.UserName, own.AuthenticationProtocol, own.PrivacyProtocol = "", gosnmp.NoAuth, gosnmp.NoPriv
		out.PDUType, out.MsgFlags = gosnmp.Report, gosnmp.NoAuthNoPriv
		out.Variables = []gosnmp.SnmpPDU{{Name: unknownEngineIDs, Type: gosnmp.Counter32, Value: uint32(1)}}
		return true
	}
	out.MsgFlags = in.MsgFlags &^ gosnmp.Reportable
	a.mu.Lock()
	a.salt++
	own.PrivacyParameters = binary.BigEndian.AppendUint64(nil, a.salt)
	a.mu.Unlock()
	return own.InitSecurityKeys() == nil
}

// do carries out a GET or SET.
func (a *agent) do(in, out *gosnmp.SnmpPacket) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for n, v := range in.Variables {
		have, ok := a.values[v.Name]
		switch {
		case !ok:
			have = gosnmp.SnmpPDU{Name: v.Name, Type: gosnmp.NoSuchInstance}
		case in.PDUType == gosnmp.SetRequest && have.Type != v.Type:
			out.Error, out.ErrorIndex = gosnmp.WrongType, uint8(n+1)
		case in.PDUType == gosnmp.SetRequest:
			a.values[v.Name], have = v, v
		}
		out.Variables = append(out.Variables, have)
	}
}
