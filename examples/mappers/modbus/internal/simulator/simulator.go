// Package simulator is a Modbus device in memory: its tables, and servers for them over TCP
// and over a serial line.
package simulator

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"sync"
	"time"

	"github.com/simonvetter/modbus"
)

// Slaves are the tables of all slaves of a device. All methods may be called by several
// goroutines at once.
type Slaves struct {
	mu       sync.Mutex
	items    int
	slaves   map[uint8]*tables
	requests int
}

type tables struct {
	coils, discrete []bool
	input, holding  []uint16
}

// New makes slaves whose tables have so many items each, all of them zero. A request beyond
// them gets the exception "illegal data address". A slave appears when it is first used.
func New(items int) *Slaves { return &Slaves{items: items, slaves: make(map[uint8]*tables)} }

func (s *Slaves) slave(id uint8) *tables {
	t := s.slaves[id]
	if t == nil {
		t = &tables{coils: make([]bool, s.items), discrete: make([]bool, s.items), input: make([]uint16, s.items), holding: make([]uint16, s.items)}
		s.slaves[id] = t
	}
	return t
}

// SetHolding changes holding registers, as by hand.
func (s *Slaves) SetHolding(slave uint8, address int, values ...uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	copy(s.slave(slave).holding[address:], values)
}

// SetInput changes input registers.
func (s *Slaves) SetInput(slave uint8, address int, values ...uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	copy(s.slave(slave).input[address:], values)
}

// SetDiscrete changes a discrete input.
func (s *Slaves) SetDiscrete(slave uint8, address int, value bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slave(slave).discrete[address] = value
}

// Holding returns a holding register.
func (s *Slaves) Holding(slave uint8, address int) uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.slave(slave).holding[address]
}

// Requests is the number of requests so far.
func (s *Slaves) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// use gives f a part of a table, if it is all there.
func use[T any](s *Slaves, slave uint8, of func(*tables) []T, address, count uint16, f func([]T)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	all := of(s.slave(slave))
	if int(address)+int(count) > len(all) {
		return modbus.ErrIllegalDataAddress
	}
	f(all[address : address+count])
	return nil
}

// HandleCoils is for the server.
func (s *Slaves) HandleCoils(r *modbus.CoilsRequest) (res []bool, err error) {
	err = use(s, r.UnitId, func(t *tables) []bool { return t.coils }, r.Addr, r.Quantity, func(part []bool) {
		if r.IsWrite {
			copy(part, r.Args)
		}
		res = append(res, part...)
	})
	return res, err
}

// HandleDiscreteInputs is for the server.
func (s *Slaves) HandleDiscreteInputs(r *modbus.DiscreteInputsRequest) (res []bool, err error) {
	err = use(s, r.UnitId, func(t *tables) []bool { return t.discrete }, r.Addr, r.Quantity, func(part []bool) { res = append(res, part...) })
	return res, err
}

// HandleHoldingRegisters is for the server.
func (s *Slaves) HandleHoldingRegisters(r *modbus.HoldingRegistersRequest) (res []uint16, err error) {
	err = use(s, r.UnitId, func(t *tables) []uint16 { return t.holding }, r.Addr, r.Quantity, func(part []uint16) {
		if r.IsWrite {
			copy(part, r.Args)
		}
		res = append(res, part...)
	})
	return res, err
}

// HandleInputRegisters is for the server.
func (s *Slaves) HandleInputRegisters(r *modbus.InputRegistersRequest) (res []uint16, err error) {
	err = use(s, r.UnitId, func(t *tables) []uint16 { return t.input }, r.Addr, r.Quantity, func(part []uint16) { res = append(res, part...) })
	return res, err
}

// Serve serves the slaves over Modbus TCP at an address such as 127.0.0.1:5020 until ctx
// ends. It calls ready when it listens.
func (s *Slaves) Serve(ctx context.Context, address string, ready func()) error {
	server, err := s.listen(address)
	if err != nil {
		return err
	}
	ready()
	<-ctx.Done()
	return server.Stop()
}

func (s *Slaves) listen(address string) (*modbus.ModbusServer, error) {
	server, err := modbus.NewServer(&modbus.ServerConfiguration{
		URL: "tcp://" + address, MaxClients: 100, Timeout: time.Hour, Logger: log.New(io.Discard, "", 0),
	}, s)
	if err != nil {
		return nil, err
	}
	return server, server.Start()
}

// Listen serves at a free port of 127.0.0.1, which it returns, until stop is called. The
// library does not say which port it has, so Listen tries free ones.
func (s *Slaves) Listen() (address string, stop func() error, err error) {
	for range 100 {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", nil, err
		}
		address := free.Addr().String()
		free.Close()
		if server, err := s.listen(address); err == nil {
			return address, server.Stop, nil
		}
	}
	return "", nil, fmt.Errorf("no free port")
}
