/* What a program can change of its guest, and what would spoil the next program there. */
#ifndef FOOTHOLD_GUEST_STATE_H
#define FOOTHOLD_GUEST_STATE_H

/* Send it in a frame, one line for each value: NAME, a tab, the value. MOMENT is the first line:
 * `before` or `after` a subject. */
void guest_state_send(const char *moment);

#endif
