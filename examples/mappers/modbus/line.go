package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"strings"
	"sync"
	"time"

	"github.com/simonvetter/modbus"

	"github.com/edgekit/edgekit/device"
)

// connection is spec.protocol.configData of a Device.
type connection struct {
	CommunicateMode string // TCP (default), RTU, or RTUOverTCP
	IP              string
	Port            int // 0 means 502
	SerialPort      string
	BaudRate        uint   // 0 means 9600
	DataBits        uint   // 0 means 8
	Parity          string // none, even (default) or odd
	StopBits        uint   // 0 means 1
	SlaveID         int
	Timeout         int // of a request, in milliseconds; 0 means 1000
	Gap             int // unused registers that one request may read between two properties
}

// settings is what the library needs for the line. Devices with equal settings share it.
type settings struct {
	url                      string
	speed, data, parity, end uint
	timeout                  time.Duration
}

// newConnection reads the protocol.configData of a device.
func newConnection(dev device.Instance) (c connection, s settings, err error) {
	if err := dev.Spec.Protocol.Config.Decode(&c); err != nil {
		return c, s, err
	}
	if s, err = c.settings(); err != nil {
		err = fmt.Errorf("protocol.configData: %w", err)
	}
	return c, s, err
}

// lineOf names the line of a device, so that the SDK knows which devices share one.
func lineOf(dev device.Instance) string {
	_, s, err := newConnection(dev)
	if err != nil {
		return ""
	}
	return s.url
}

// settings checks the connection.
func (c connection) settings() (settings, error) {
	s := settings{timeout: time.Duration(c.Timeout) * time.Millisecond}
	switch {
	case c.SlaveID < 0 || c.SlaveID > 247:
		return s, fmt.Errorf("slaveID is %d: set 1 to 247, or 0 for a TCP device without slaves", c.SlaveID)
	case c.Timeout < 0 || c.Timeout > 60_000:
		return s, fmt.Errorf("timeout is %d: set 1 to 60000 milliseconds, or 0 for 1000", c.Timeout)
	case c.Gap < 0 || c.Gap > 124:
		return s, fmt.Errorf("gap is %d: set 0 to 124", c.Gap)
	case c.Port < 0 || c.Port > 65535:
		return s, fmt.Errorf("port is %d: set 1 to 65535, or 0 for 502", c.Port)
	}
	if s.timeout == 0 {
		s.timeout = time.Second
	}
	if c.Port == 0 {
		c.Port = 502
	}
	switch mode := strings.ToLower(c.CommunicateMode); mode {
	case "", "tcp", "rtuovertcp":
		if c.IP == "" {
			return s, errors.New("ip is missing: set the address of the device")
		}
		if mode == "" {
			mode = "tcp"
		}
		s.url = fmt.Sprintf("%s://%s:%d", mode, c.IP, c.Port)
	case "rtu":
		if c.SerialPort == "" {
			return s, errors.New("serialPort is missing: set the line's device file, for example /dev/ttyUSB0")
		}
		s.url = "rtu://" + c.SerialPort
	default:
		return s, fmt.Errorf("communicateMode is %q: set TCP, RTU or RTUOverTCP", c.CommunicateMode)
	}
	s.speed, s.data, s.end = orElse(c.BaudRate, 9600), orElse(c.DataBits, 8), orElse(c.StopBits, 1)
	switch strings.ToLower(c.Parity) {
	case "", "even":
		s.parity = modbus.PARITY_EVEN
	case "odd":
		s.parity = modbus.PARITY_ODD
	case "none":
		s.parity = modbus.PARITY_NONE
	default:
		return s, fmt.Errorf("parity is %q: set none, even or odd", c.Parity)
	}
	return s, nil
}

func orElse(value, otherwise uint) uint {
	if value == 0 {
		return otherwise
	}
	return value
}

// lines are the open lines of the program.
type lines struct {
	mu   sync.Mutex
	open map[settings]*line
}

func newLines() *lines { return &lines{open: make(map[settings]*line)} }

// take returns the line with these settings; each take needs one give.
func (l *lines) take(s settings) *line {
	l.mu.Lock()
	defer l.mu.Unlock()
	own := l.open[s]
	if own == nil {
		own = &line{settings: s, turn: make(chan struct{}, 1)}
		l.open[s] = own
	}
	own.users++
	return own
}

// give closes the line after its last user.
func (l *lines) give(own *line) error {
	l.mu.Lock()
	own.users--
	last := own.users == 0
	if last {
		delete(l.open, own.settings)
	}
	l.mu.Unlock()
	if !last {
		return nil
	}
	own.requests.Wait() // no longer than the time-out
	if own.client == nil {
		return nil
	}
	return own.client.Close()
}

// line is one connection or serial line. One request at a time is under way on it.
type line struct {
	settings settings
	users    int                  // lines.mu guards it
	turn     chan struct{}        // full while a request is under way
	requests sync.WaitGroup       // the request that is under way, also when nobody waits for it any more
	client   *modbus.ModbusClient // nil when it is not connected; belongs to the request under way
}

// do has f make one request to a slave when it is its turn. The library does not know
// contexts: when ctx ends, do returns and the request ends by its own time-out.
func (l *line) do(ctx context.Context, slave uint8, f func(*modbus.ModbusClient) error) error {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if ctx.Err() != nil {
		<-l.turn
		return ctx.Err()
	}
	done := make(chan error, 1)
	l.requests.Go(func() {
		defer func() { <-l.turn }()
		done <- l.request(slave, f)
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// request connects if need be. The library never reconnects by itself: after any error but an
// exception, which is an answer of the slave, the next request does.
func (l *line) request(slave uint8, f func(*modbus.ModbusClient) error) error {
	if l.client == nil {
		s := l.settings
		client, err := modbus.NewClient(&modbus.ClientConfiguration{
			URL: s.url, Speed: s.speed, DataBits: s.data, Parity: s.parity, StopBits: s.end,
			Timeout: s.timeout, Logger: log.New(io.Discard, "", 0), // each fault is an error too
		})
		if err != nil {
			return err
		}
		if err := client.Open(); err != nil {
			return fmt.Errorf("%w: %w", device.ErrConnection, err)
		}
		l.client = client
	}
	if err := l.client.SetUnitId(slave); err != nil {
		return err
	}
	err := f(l.client)
	if err == nil || isException(err) {
		return err
	}
	_ = l.client.Close() // err says what is wrong
	l.client = nil
	if errors.Is(err, modbus.ErrRequestTimedOut) {
		return err // it may be this slave alone
	}
	return fmt.Errorf("%w: %w", device.ErrConnection, err)
}

// isException reports whether the slave answered, with an exception.
func isException(err error) bool {
	for _, exception := range []modbus.Error{
		modbus.ErrIllegalFunction, modbus.ErrIllegalDataAddress, modbus.ErrIllegalDataValue,
		modbus.ErrServerDeviceFailure, modbus.ErrAcknowledge, modbus.ErrServerDeviceBusy,
		modbus.ErrMemoryParityError, modbus.ErrGWPathUnavailable, modbus.ErrGWTargetFailedToRespond,
	} {
		if errors.Is(err, exception) {
			return true
		}
	}
	return false
}
