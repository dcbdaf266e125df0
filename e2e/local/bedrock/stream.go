package bedrock

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
)

// errEnded says that the stream ended on purpose of a fault, and nothing more may be written.
var errEnded = errors.New("stream ended by a fault")

// converseStream answers by events. It returns an exception only if nothing has been sent.
func (s *Server) converseStream(w http.ResponseWriter, r *http.Request, req *Request, fault Fault, start time.Time) *Exception {
	out := &eventWriter{w: w, fault: fault, encoder: eventstream.NewEncoder()}
	answer := &Answer{cutShort: fault.StopReason}
	answer.emit = func(event string, payload any) error {
		if out.sent == 0 { // the role comes first, and not before the model has begun to answer
			if err := out.event("messageStart", map[string]string{"role": "assistant"}); err != nil {
				return err
			}
		}
		return out.event(event, payload)
	}
	usage, err := s.reply(r.Context(), req, answer)
	if err == nil {
		err = answer.emit("messageStop", map[string]string{"stopReason": answer.stopReason})
	}
	if err == nil {
		err = out.event("metadata", map[string]any{"usage": usage, "metrics": Metrics{s.config.Now().Sub(start).Milliseconds()}})
	}
	switch {
	case err == nil || errors.Is(err, errEnded):
		return nil
	case out.sent == 0:
		return asException(err)
	}
	exception := asException(err)
	s.config.Logger.WarnContext(r.Context(), "model stream broken", "code", exception.Type, "error", exception.Message)
	if err := out.exception(exception); err != nil {
		s.config.Logger.WarnContext(r.Context(), "model stream not ended", "error", err)
	}
	return nil
}

// eventWriter writes event stream messages and lets the fault happen at its event.
type eventWriter struct {
	w       http.ResponseWriter
	encoder *eventstream.Encoder
	fault   Fault
	sent    int
}

// event sends one event, or ends the stream if the fault's time has come.
func (e *eventWriter) event(name string, payload any) error {
	corrupt := false
	if e.sent >= e.fault.AfterEvents {
		switch {
		case e.fault.Abort:
			panic(http.ErrAbortHandler)
		case e.fault.Exception != "":
			if err := e.exception(&Exception{Type: e.fault.Exception, Message: "Injected fault."}); err != nil {
				return err
			}
			return errEnded
		case e.fault.Corrupt:
			corrupt = true
		}
	}
	if err := e.write(":event-type", name, "event", payload, corrupt); err != nil {
		return err
	}
	if corrupt {
		return errEnded
	}
	return nil
}

// exception sends x as an exception event.
func (e *eventWriter) exception(x *Exception) error {
	name, ok := inStream[x.Type]
	if !ok {
		name = inStream["InternalServerException"]
	}
	return e.write(":exception-type", name, "exception", map[string]string{"message": x.Message}, false)
}

func (e *eventWriter) write(typeHeader, name, messageType string, payload any, corrupt bool) error {
	data, err := json.Marshal(payload)
	if err != nil {
		return fmt.Errorf("encode event %s: %w", name, err)
	}
	var headers eventstream.Headers
	headers.Set(typeHeader, eventstream.StringValue(name))
	headers.Set(":content-type", eventstream.StringValue("application/json"))
	headers.Set(":message-type", eventstream.StringValue(messageType))
	var frame bytes.Buffer
	if err := e.encoder.Encode(&frame, eventstream.Message{Headers: headers, Payload: data}); err != nil {
		return fmt.Errorf("encode event %s: %w", name, err)
	}
	if corrupt {
		raw := frame.Bytes()
		raw[len(raw)-1] ^= 0xff // the checksum of the whole message
	}
	if e.sent == 0 {
		e.w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
		e.w.WriteHeader(http.StatusOK)
	}
	if _, err := e.w.Write(frame.Bytes()); err != nil {
		return fmt.Errorf("send event %s: %w", name, err)
	}
	e.sent++
	if err := http.NewResponseController(e.w).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("send event %s: %w", name, err)
	}
	return nil
}
