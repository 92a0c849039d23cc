/* What a program can change of its guest, and what would spoil the next program there. */
#ifndef FOOTHOLD_GUEST_STATE_H
#define FOOTHOLD_GUEST_STATE_H

/* Begin and end to note what is written into settings of the kernel: by the subject, so between the
 * settings that the agent makes for it and restores. */
void guest_state_begin_watch(void);
void guest_state_end_watch(void);

/* Send it in a frame, one line for each value: NAME, a tab, the value. MOMENT is the first line:
 * `before` or `after` a subject. */
void guest_state_send(const char *moment);

#endif
